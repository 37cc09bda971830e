// The fp32 operations, as ops.cpp registers them. Matrices are (rows, columns); p = 0 drops nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace loraloom::fp32 {

using at::Tensor;
using Optional = std::optional<Tensor>;

// rows.cpp
// dropout(x + bias) + residual.
Tensor add(const Tensor& x, const Optional& bias, const Optional& residual, double p, int64_t key0, int64_t key1);
// y becomes dropout(y + bias) + residual, and h the norm of that; h may be y itself.
void add_norm(Tensor y, const Optional& bias, const Optional& residual, double p, int64_t key0, int64_t key1,
              const Tensor& gamma, const Optional& beta, double eps, Tensor h);
Tensor norm(const Tensor& x, const Tensor& gamma, const Optional& beta, double eps);
// dr = inverse (g - mean(g) - xhat mean(g xhat)), g = dh gamma; dy = dr through the dropout's mask, or dr itself.
std::tuple<Tensor, Tensor> norm_backward(const Tensor& dh, const Tensor& r, const Tensor& gamma, double eps, double p,
                                         int64_t key0, int64_t key1);

// attention.cpp
Tensor attention(const Tensor& qkv, const Tensor& offsets, int64_t heads, double scale, const Optional& bias,
                 int64_t window, double p, int64_t key0, int64_t key1, bool first);
Tensor attention_backward(const Tensor& dctx, const Tensor& qkv, const Tensor& offsets, int64_t heads, double scale,
                          const Optional& bias, int64_t window, double p, int64_t key0, int64_t key1, bool first);

}  // namespace loraloom::fp32
