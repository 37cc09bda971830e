"""What is true of LoRA text classification, asked of real rows: each study is run by one command and kept as JSON."""
