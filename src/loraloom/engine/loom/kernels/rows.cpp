// Passes over rows of bf16 that belong to no product: dropout, and sums of columns. Both are bound by memory: 4 bytes a value
// move, or 2. torch's own sum over the rows of a bf16 matrix took ten times as long, its dropout runs on one thread.
#include <vector>

#include "primitives.h"
#include "kernels.h"

namespace loraloom {

// x (N, C) with elements dropped, the others scaled.
Tensor dropout(const Tensor& x, double p, int64_t key0, int64_t key1) {
  const int64_t n = x.size(0), width = x.size(1), stride = x.stride(0);
  const bf16* from = matrix(x, "x");
  TORCH_CHECK(width % 16 == 0, "x: rows of ", width, "; a multiple of 16 is needed");
  const Dropout drop(p, key0, key1);
  Tensor y = make(n, width);
  bf16* to = y.mutable_data_ptr<bf16>();
  const int64_t parts = std::min<int64_t>(at::get_num_threads(), ceil_div(n, 8));
  on_threads(parts, [&](int thread) {
    const int64_t step = ceil_div(n, omp_get_num_threads()), begin = thread * step;
    for (int64_t i = begin; i < std::min(n, begin + step); ++i)
      for (int64_t j = 0; j < width; j += 16)
        store(to + i * width + j, drop.apply(load(from + i * stride + j), static_cast<uint32_t>(i * width + j)));
  });
  return y;
}

// y (N, C): the sums (C) of its columns in fp32, each over the rows in their order.
Tensor column_sums(const Tensor& y) {
  constexpr int64_t kRun = 64;  // columns that a task sums: a cache line of bf16 twice
  const int64_t n = y.size(0), width = y.size(1), stride = y.stride(0);
  const bf16* from = matrix(y, "y");
  TORCH_CHECK(width % 16 == 0, "y: rows of ", width, "; a multiple of 16 is needed");
  Tensor sums = at::detail::empty_cpu({width}, at::kFloat);
  float* to = sums.mutable_data_ptr<float>();
  const int64_t parts = std::min<int64_t>(at::get_num_threads(), ceil_div(width, kRun));
  on_threads(parts, [&](int thread) {
    const int64_t step = round_up(ceil_div(width, omp_get_num_threads()), kRun);
    const int64_t begin = thread * step, end = std::min(width, begin + step);
    if (begin >= end) return;
    std::vector<float> own(end - begin, 0.f);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = begin; j < end; j += 16)
        _mm512_storeu_ps(own.data() + j - begin,
                         _mm512_add_ps(_mm512_loadu_ps(own.data() + j - begin), load(from + i * stride + j)));
    std::memcpy(to + begin, own.data(), (end - begin) * sizeof(float));
  });
  return sums;
}

}  // namespace loraloom
