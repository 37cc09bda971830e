// The texts of an unpadded batch, the heads and biases of their attention, and the keys that a block of queries sees: for
// kernels of any type.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <vector>

#include "threads.h"

namespace loraloom {

inline void check_heads(const at::Tensor& qkv, int64_t heads) {
  const int64_t width = qkv.size(1) / 3;
  TORCH_CHECK(heads > 0 && qkv.size(1) == 3 * width && width % (16 * heads) == 0, "qkv: ", qkv.size(1),
              " columns are not 3 times ", heads, " heads of a multiple of 16");
}

// Rows of text t: from offsets[t] to offsets[t + 1].
struct Texts {
  const int32_t* offsets;
  std::vector<int32_t> order;  // the longest first, so that threads end together
  int64_t longest = 0;

  Texts(const at::Tensor& bounds, int64_t rows) {
    TORCH_CHECK(bounds.dim() == 1 && bounds.scalar_type() == at::kInt && bounds.is_contiguous() && bounds.is_cpu() &&
                    bounds.size(0) > 0,
                "offsets: contiguous int32 values are needed, one more than sequences");
    offsets = bounds.const_data_ptr<int32_t>();
    const int64_t texts = bounds.size(0) - 1;
    TORCH_CHECK(offsets[0] == 0 && offsets[texts] == rows, "offsets: from ", offsets[0], " to ", offsets[texts],
                "; 0 to ", rows, " are needed");
    for (int64_t t = 0; t < texts; ++t) {
      TORCH_CHECK(offsets[t] <= offsets[t + 1], "offsets: ", offsets[t], " is followed by ", offsets[t + 1]);
      longest = std::max(longest, length(t));
    }
    order.resize(texts);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return length(a) > length(b); });
  }

  int64_t length(int64_t text) const { return offsets[text + 1] - offsets[text]; }
};

// What is added to scores: (H, size, size), or nothing.
struct Biases {
  const float* values = nullptr;
  int64_t size = 0;

  Biases(const std::optional<at::Tensor>& bias, int64_t heads, int64_t longest) {
    if (!bias) return;
    size = bias->dim() == 3 ? bias->size(1) : 0;
    TORCH_CHECK(bias->dim() == 3 && bias->scalar_type() == at::kFloat && bias->is_contiguous() &&
                    bias->size(0) == heads && bias->size(2) == size && size >= longest,
                "bias: contiguous fp32 values (", heads, ", T, T) with T of at least ", longest, " are needed");
    values = bias->const_data_ptr<float>();
  }

  // Those of a query's keys; null where there are none.
  const float* of(int64_t head, int64_t query) const {
    return values == nullptr ? nullptr : values + (head * size + query) * size;
  }
};

// Keys that a block of queries sees, cut at multiples of 32.
struct Range {
  int64_t begin, end;
  Range(int64_t first_query, int64_t last_query, int64_t length, int64_t window) {
    begin = window ? std::max<int64_t>(0, first_query - window) / 32 * 32 : 0;
    end = round_up(window ? std::min(length, last_query + window + 1) : length, 32);
  }
};

}  // namespace loraloom
