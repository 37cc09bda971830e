// The operations, as ops.cpp registers them; what each computes stands in the file that defines it.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace loraloom {

using at::Tensor;
using Optional = std::optional<Tensor>;

// gemm.cpp
Tensor pack(const Tensor& w);
Tensor linear(const Tensor& x, const Tensor& packed, int64_t out_features, const Optional& bias, const Optional& u,
              const Optional& b, const Optional& residual, double p, int64_t key0, int64_t key1);
std::tuple<Tensor, Tensor> linear_gelu(const Tensor& x, const Tensor& packed, int64_t out_features,
                                       const Optional& bias, const Optional& u, const Optional& b, bool keep);
Tensor linear_gelu_backward(const Tensor& dy, const Tensor& packed, int64_t out_features, const Optional& u,
                            const Optional& b, const Tensor& a);
std::tuple<Tensor, Tensor> linear_norm(const Tensor& x, const Tensor& packed, int64_t out_features,
                                       const Optional& bias, const Optional& u, const Optional& b,
                                       const Tensor& residual, double p, int64_t key0, int64_t key1,
                                       const Tensor& gamma, const Tensor& beta, double eps, bool keep);

// lowrank.cpp
Tensor lowrank_project(const Tensor& x, const Tensor& a);
Tensor lowrank_gradient(const Tensor& z, const Tensor& y);

// rows.cpp
Tensor dropout(const Tensor& x, double p, int64_t key0, int64_t key1);
Tensor column_sums(const Tensor& y);

// norm.cpp
Tensor norm(const Tensor& x, const Tensor& gamma, const Optional& beta, double eps);
std::tuple<Tensor, Tensor> norm_backward(const Tensor& dh, const Tensor& r, const Tensor& gamma, double eps, double p,
                                         int64_t key0, int64_t key1);
void norm_row(const at::BFloat16* x, const float* gamma, const float* beta, float eps, int64_t width, float* row,
              at::BFloat16* h);

// attention.cpp
Tensor attention(const Tensor& qkv, const Tensor& offsets, int64_t heads, double scale, const Optional& bias,
                 int64_t window, double p, int64_t key0, int64_t key1);
Tensor attention_backward(const Tensor& dctx, const Tensor& qkv, const Tensor& ctx, const Tensor& offsets,
                          int64_t heads, double scale, const Optional& bias, int64_t window, double p, int64_t key0,
                          int64_t key1);

// first.cpp
Tensor attention_first(const Tensor& qkv, const Tensor& offsets, int64_t heads, double scale, const Optional& bias,
                       int64_t window, double p, int64_t key0, int64_t key1);
Tensor attention_first_backward(const Tensor& dctx, const Tensor& qkv, const Tensor& offsets, int64_t heads,
                                double scale, const Optional& bias, int64_t window, double p, int64_t key0,
                                int64_t key1);

}  // namespace loraloom
