// The operations under torch.ops.loraloom_fp32.
#include <torch/library.h>

#include "kernels.h"

TORCH_LIBRARY(loraloom_fp32, m) {
  m.def("add(Tensor x, Tensor? bias, Tensor? residual, float p, int key0, int key1) -> Tensor");
  m.def(
      "add_norm(Tensor(a!) y, Tensor? bias, Tensor? residual, float p, int key0, int key1, Tensor gamma, Tensor? beta,"
      " float eps, Tensor(b!) h) -> ()");
  m.def("norm(Tensor x, Tensor gamma, Tensor? beta, float eps) -> Tensor");
  m.def(
      "norm_backward(Tensor dh, Tensor r, Tensor gamma, float eps, float p, int key0, int key1)"
      " -> (Tensor dr, Tensor dy)");
  m.def(
      "attention(Tensor qkv, Tensor offsets, int heads, float scale, Tensor? bias, int window, float p, int key0,"
      " int key1, bool first) -> Tensor");
  m.def(
      "attention_backward(Tensor dctx, Tensor qkv, Tensor offsets, int heads, float scale, Tensor? bias, int window,"
      " float p, int key0, int key1, bool first) -> Tensor");
}

TORCH_LIBRARY_IMPL(loraloom_fp32, CPU, m) {
  m.impl("add", loraloom::fp32::add);
  m.impl("add_norm", loraloom::fp32::add_norm);
  m.impl("norm", loraloom::fp32::norm);
  m.impl("norm_backward", loraloom::fp32::norm_backward);
  m.impl("attention", loraloom::fp32::attention);
  m.impl("attention_backward", loraloom::fp32::attention_backward);
}
