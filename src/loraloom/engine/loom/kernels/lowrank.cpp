// The thin products of adapters: z = x a^T (N, R) and its gradient z^T y (R, C) in fp32, R small. 2 * N * D * R FLOPs,
// R padded to 32; both are bound by the one passage of x or y through memory.
// Tried for the gradient: a task for each 64 columns over all rows (454 us for (848, 2304), against 358 as it is and 318 of
// torch's product in bf16, on one thread; at (848, 1152) 224, 99 and 168).
#include "primitives.h"
#include "kernels.h"

namespace loraloom {

// x (N, D), a (R, D): (N, R).
Tensor lowrank_project(const Tensor& x, const Tensor& a) {
  const int64_t n = x.size(0), k = x.size(1), stride = x.stride(0), r = a.size(0), panels = ceil_div(r, kPanel);
  const bf16 *from = matrix(x, "x"), *thin = matrix(a, "a", -1, k);
  TORCH_CHECK(k % 32 == 0, "x: rows of ", k, "; a multiple of 32 is needed");
  TORCH_CHECK(a.stride(0) % 2 == 0, "a: an even row stride is needed");
  bf16* right = static_cast<bf16*>(scratch(kLowRankRight, panels * kPanel * k * sizeof(bf16)));
  pack_rows(thin, a.stride(0), r, k, k, right);
  Tensor z = make(n, r);
  bf16* to = z.mutable_data_ptr<bf16>();
  std::atomic<int64_t> next{0};
  const int64_t tasks = ceil_div(n, 32);
  on_threads(tasks, [&](int) {
    const Tiles tiles;
    float* c = static_cast<float*>(scratch(kBlock, 32 * kPanel * sizeof(float)));
    bf16* tail = nullptr;
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      const int64_t row = task * 32, rows = std::min<int64_t>(32, n - row);
      Left left = rows_of(from + row * stride, stride, rows);
      if (rows % 16 != 0) {  // tiles have 16 rows: the last ones are multiplied from a copy
        tail = static_cast<bf16*>(scratch(kTail, 32 * k * sizeof(bf16)));
        std::memset(tail, 0, 32 * k * sizeof(bf16));
        for (int64_t i = 0; i < rows; ++i)
          std::memcpy(tail + i * k, from + (row + i) * stride, k * sizeof(bf16));
        left = rows_of(tail, k, rows);
      }
      for (int64_t panel = 0; panel < panels; ++panel) {
        product(left, right + panel * kPanel * k, k, c, kPanel);
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < 32; j += 16)
            store(to + (row + i) * r + panel * kPanel + j, _mm512_loadu_ps(c + i * kPanel + j),
                  first(r - panel * kPanel - j));
      }
    }
  });
  return z;
}

// z (N, R), y (N, C): z^T y (R, C) in fp32. Each thread sums its columns over all rows, in their order; it reads runs of
// columns, for pieces of rows a panel wide are what no prefetcher follows.
Tensor lowrank_gradient(const Tensor& z, const Tensor& y) {
  constexpr int64_t kRun = 64;  // rows of y that are packed at a time: 4 KiB of a panel
  const int64_t n = z.size(0), r = z.size(1), columns = y.size(1), stride = y.stride(0);
  const bf16 *thin = matrix(z, "z"), *from = matrix(y, "y", n);
  const int64_t rank = round_up(r, 32), depth = round_up(n, 32);
  bf16* padded = static_cast<bf16*>(scratch(kLowRankRight, (32 * rank + 32 * 32) * sizeof(bf16)));
  bf16* left = static_cast<bf16*>(scratch(kLowRankLeft, rank * depth * sizeof(bf16)));
  for (int64_t row = 0; row < n; row += 32) {
    for (int64_t i = 0; i < 32; ++i)
      for (int64_t j = 0; j < rank; j += 32) {
        const int64_t there = row + i < n ? r - j : 0;
        const __mmask32 mask = there >= 32 ? 0xffffffffu : there <= 0 ? 0 : (1u << there) - 1;
        _mm512_store_si512(padded + i * rank + j, _mm512_maskz_loadu_epi16(mask, thin + (row + i) * z.stride(0) + j));
      }
    transpose(padded, rank, 32, rank, left + row, depth, padded + 32 * rank);
  }
  Tensor gradient = make(r, columns, at::kFloat);
  float* to = gradient.mutable_data_ptr<float>();
  // Sums of a group of columns stay in the second-level cache.
  const int64_t most = std::max<int64_t>(kPair, 512 * 1024 / (rank * 4) / kPair * kPair);
  const int64_t group = std::min(most, round_up(ceil_div(columns, at::get_num_threads()), kPair));
  const int64_t tasks = ceil_div(columns, group);
  std::atomic<int64_t> next{0};
  on_threads(tasks, [&](int) {
    const Tiles tiles;
    bf16* panel = static_cast<bf16*>(scratch(kAttention, kRun * kPanel * sizeof(bf16)));
    float* c = static_cast<float*>(scratch(kBlock, rank * group * sizeof(float)));
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      const int64_t begin = task * group, end = std::min(columns, begin + group);
      for (int64_t row = 0; row < n; row += kRun) {
        const int64_t k = std::min(kRun, depth - row);
        for (int64_t column = begin; column < end; column += kPanel) {
          pack_columns(from + row * stride + column, stride, n - row, columns - column, k, panel);
          for (int64_t i = 0; i < r; i += 32)
            product(rows_of(left + i * depth + row, depth, r - i), panel, k, c + (column - begin) * rank + i * kPanel,
                    kPanel, row > 0);
        }
      }
      for (int64_t column = begin; column < end; column += kPanel)
        for (int64_t i = 0; i < r; ++i)
          for (int64_t j = 0; j < kPanel; j += 16)
            _mm512_mask_storeu_ps(to + i * columns + column + j, first(columns - column - j),
                                  _mm512_loadu_ps(c + (column - begin) * rank + i * kPanel + j));
    }
  });
  return gradient;
}

}  // namespace loraloom
