// What all kernels are made of: bf16 vectors, the tile product, the dropout generator, threads and scratch memory.
//
// The tile product (`product`) multiplies 16 or 32 rows by a panel of 32 columns: C (16 or 32, 32) fp32 += A B, K a
// multiple of 32. A is row-major; a panel of B lies as (K/2, 32, 2), the pairs of k side by side, as AMX and AVX512-BF16
// read it. Cost: 2 * 32 * 32 * K FLOPs. With AMX for 4 KiB of tile loads per 32 of K, a load per 16-cycle tile product:
// 64 bytes a cycle, all that the second-level cache gives, so about 1.9 of 2.6 TFLOP/s a core where A and B lie there.
// A is read past the first-level cache (stream loads), where it would push the panel out that the next rows need: 1.0
// to 1.12 times as fast. Tiles whose rows cross cache lines take three times as long (0.5 in place of 1.5 TFLOP/s):
// operands are 64-aligned.
//
// On processors with AVX512-BF16 alone (or -DLORALOOM_AVX512) eight rows by 32 columns are summed in registers: 10 loads
// for 16 products of pairs. One core of an AMD EPYC of family 26 does 516 GFLOP/s in bare instructions, and 505 to 522 so
// at K = 64, 384, 768 and 3072; by 11, 11 and 10 rows as many, by 16 rows 330 to 365. at::native::cpublas::brgemm, which
// stood here, costs some 0.1 us a call beside its products.
#pragma once

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <immintrin.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "dropout.h"
#include "threads.h"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && !defined(LORALOOM_AVX512)
#define LORALOOM_AMX 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace loraloom {

using at::Tensor;
using bf16 = at::BFloat16;
constexpr int64_t kPanel = 32;  // columns of a panel of B, and rows of a step of K
constexpr int64_t kPair = 64;   // columns that a task takes at least: two panels, so that neighbours' lines stay whole

// ---------------------------------------------------------------------------------------------- vectors of 16 values

inline __m512 widen(__m256i packed) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(packed), 16));
}
inline __m512 load(const bf16* from) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))); }
inline __m512 load(const bf16* from, __mmask16 mask) { return widen(_mm256_maskz_loadu_epi16(mask, from)); }
inline __m256i narrow(__m512 values) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)); }
inline void store(bf16* to, __m512 values) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), narrow(values)); }
inline void store(bf16* to, __m512 low, __m512 high) {
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
}
inline void store(bf16* to, __m512 values, __mmask16 mask) { _mm256_mask_storeu_epi16(to, mask, narrow(values)); }
inline void fetch(const bf16* at) { _mm_prefetch(at, _MM_HINT_T0); }
inline void fetch_for_writing(bf16* at) { __builtin_prefetch(at, 1, 3); }
inline __mmask16 first(int64_t count) { return count >= 16 ? 0xffff : count <= 0 ? 0 : (1u << count) - 1; }
inline __m512i iota() { return _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0); }

// 2^x for x <= 127, relative error about 1e-7 and rounding: 2^n by scalef times a polynomial of degree 5 on [-1/2, 1/2]. What is below
// -126 counts as -126: denormal results would cost a hundred cycles each.
inline __m512 power_of_two(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-126.f), x);  // in this order NaN stays NaN
  const __m512 n = _mm512_roundscale_ps(x, 8);
  const __m512 r = _mm512_sub_ps(x, n);
  __m512 y = _mm512_set1_ps(1.3218672e-3f);
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(9.6716983e-3f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(5.5508930e-2f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(2.4022238e-1f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(6.9314688e-1f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.f));
  return _mm512_scalef_ps(y, n);
}

// --------------------------------------------------------------------------------------------------------- dropout

// Which elements stay, from their index and two keys alone (a 32-bit mixer with keys between its rounds): nothing is
// stored for the backward pass. The twin in Python agrees bit for bit. About 9 integer operations for 16 elements.
struct Dropout : DropoutKeys {
  using DropoutKeys::DropoutKeys;

  __mmask16 kept(__m512i index) const {
    __m512i x = _mm512_xor_si512(index, _mm512_set1_epi32(key0));
    x = _mm512_xor_si512(x, _mm512_srli_epi32(x, 16));
    x = _mm512_mullo_epi32(x, _mm512_set1_epi32(0x21f0aaad));
    x = _mm512_xor_si512(x, _mm512_set1_epi32(key1));
    x = _mm512_xor_si512(x, _mm512_srli_epi32(x, 15));
    x = _mm512_mullo_epi32(x, _mm512_set1_epi32(0x735a2d97));
    x = _mm512_xor_si512(x, _mm512_srli_epi32(x, 15));
    return _mm512_cmpge_epu32_mask(x, _mm512_set1_epi32(threshold));
  }

  // Of values whose indices are start, start + 1, ..., those that stay, scaled, and 0.
  __m512 apply(__m512 values, uint32_t start) const {
    const __mmask16 mask = kept(_mm512_add_epi32(_mm512_set1_epi32(start), iota()));
    return _mm512_maskz_mul_ps(mask, values, _mm512_set1_ps(scale));
  }
};

// A new matrix whose rows lie side by side.
inline Tensor make(int64_t rows, int64_t columns, at::ScalarType type = at::kBFloat16) {
  return at::detail::empty_cpu({rows, columns}, type);
}

// ------------------------------------------------------------------------------------------------------- tile product

// A thread holds one of these while it multiplies: it configures the tile registers and lets go of them.
struct Tiles {
#ifdef LORALOOM_AMX
  Tiles() {
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } shape;
    for (int i = 0; i < 8; ++i) shape.row_bytes[i] = 64, shape.rows[i] = 16;
    _tile_loadconfig(&shape);
  }
  ~Tiles() { _tile_release(); }
#else
  Tiles() {}  // nothing to be had, and no warning of what is not used
#endif
};

// Whether this process may use what `product` is made of.
inline bool supported() {
#ifdef LORALOOM_AMX
  constexpr int request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
#else
  return true;
#endif
}

// 16 or 32 rows of A as two groups of 16 (below is null where there are 16), strides in elements.
struct Left {
  const bf16* above;
  int64_t above_stride;
  const bf16* below;
  int64_t below_stride;
};

inline Left rows_of(const bf16* a, int64_t stride, int64_t rows) {
  return {a, stride, rows > 16 ? a + 16 * stride : nullptr, stride};
}

struct Nothing {
  void operator()(int64_t) const {}
};

#ifdef LORALOOM_AMX
template <bool two, class Between>
inline void multiply(const Left& left, const bf16* panel, int64_t k, const Between& between) {
  const char* b = reinterpret_cast<const char*>(panel);
  const char* above = reinterpret_cast<const char*>(left.above);
  const char* below = reinterpret_cast<const char*>(left.below);
  const int64_t above_bytes = left.above_stride * 2, below_bytes = left.below_stride * 2;
  for (int64_t i = 0; i < k; i += 32, b += 2048) {
    _tile_loadd(6, b, 128);
    _tile_stream_loadd(4, above + i * 2, above_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + 64, 128);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (two) {
      _tile_stream_loadd(5, below + i * 2, below_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    between(i);
  }
}

template <bool two>
inline void begin(bool add, const float* c, int64_t stride) {
  if (add) {
    _tile_loadd(0, c, stride * 4);
    _tile_loadd(1, c + 16, stride * 4);
    if constexpr (two) {
      _tile_loadd(2, c + 16 * stride, stride * 4);
      _tile_loadd(3, c + 16 * stride + 16, stride * 4);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (two) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
}

template <bool two>
inline void end(float* c, int64_t stride) {
  _tile_stored(0, c, stride * 4);
  _tile_stored(1, c + 16, stride * 4);
  if constexpr (two) {
    _tile_stored(2, c + 16 * stride, stride * 4);
    _tile_stored(3, c + 16 * stride + 16, stride * 4);
  }
}
#else
constexpr int kRows = 8;  // of A at once

struct Sums {
  __m512 low[kRows], high[kRows];

  // += A B, of kRows rows.
  inline __attribute__((always_inline)) void add(const bf16* a, int64_t stride, const bf16* panel, int64_t k) {
    for (int64_t i = 0; i < k; i += 2) {
      const __m512bh left = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + i * kPanel));
      const __m512bh right = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + (i + 1) * kPanel));
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        int32_t values;
        std::memcpy(&values, a + row * stride + i, sizeof(values));
        const __m512bh pair = reinterpret_cast<__m512bh>(_mm512_set1_epi32(values));
        low[row] = _mm512_dpbf16_ps(low[row], pair, left);
        high[row] = _mm512_dpbf16_ps(high[row], pair, right);
      }
    }
  }
};

// c (16, 32) = [c +] left panel [+ more more_panel].
__attribute__((noinline)) static void multiply(const bf16* left, int64_t left_stride, const bf16* panel, int64_t k,
                                               const bf16* more, int64_t more_stride, const bf16* more_panel,
                                               int64_t more_k, float* c, int64_t stride, bool add) {
  for (int64_t first = 0; first < 16; first += kRows, c += kRows * stride) {
    Sums sums;
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      sums.low[row] = add ? _mm512_loadu_ps(c + row * stride) : _mm512_setzero_ps();
      sums.high[row] = add ? _mm512_loadu_ps(c + row * stride + 16) : _mm512_setzero_ps();
    }
    sums.add(left + first * left_stride, left_stride, panel, k);
    if (more_k) sums.add(more + first * more_stride, more_stride, more_panel, more_k);
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      _mm512_storeu_ps(c + row * stride, sums.low[row]);
      _mm512_storeu_ps(c + row * stride + 16, sums.high[row]);
    }
  }
}
#endif

// c (16 or 32, 32) = [c +] left panel [+ more_left more_panel]. `between` is called with each step of k, so that other
// vector work can run in the shadow of the tile products.
template <class Between = Nothing>
inline void product(const Left& left, const bf16* panel, int64_t k, float* c, int64_t stride, bool add = false,
                    const Left* more_left = nullptr, const bf16* more_panel = nullptr, int64_t more_k = 0,
                    const Between& between = {}) {
#ifdef LORALOOM_AMX
  // GCC's tile loads do not say that they read memory: what was stored before must not be moved after them.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (left.below != nullptr) {
    begin<true>(add, c, stride);
    multiply<true>(left, panel, k, between);
    if (more_k) multiply<true>(*more_left, more_panel, more_k, Nothing{});
    end<true>(c, stride);
  } else {
    begin<false>(add, c, stride);
    multiply<false>(left, panel, k, between);
    if (more_k) multiply<false>(*more_left, more_panel, more_k, Nothing{});
    end<false>(c, stride);
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
#else
  const Left none{nullptr, 0, nullptr, 0}, &more = more_k ? *more_left : none;
  multiply(left.above, left.above_stride, panel, k, more.above, more.above_stride, more_panel, more_k, c, stride, add);
  if (left.below != nullptr)
    multiply(left.below, left.below_stride, panel, k, more.below, more.below_stride, more_panel, more_k,
             c + 16 * stride, stride, add);
  for (int64_t i = 0; i < k; i += 32) between(i);
#endif
}

// ------------------------------------------------------------------------------------------------ layouts of operands

// (16 rows, 16 of 32 bits) to its transpose; strides in 32-bit elements. Rows beyond `rows` are read as 0.
inline void transpose16(const uint32_t* from, int64_t from_stride, int64_t rows, __mmask16 columns, uint32_t* to,
                        int64_t to_stride) {
  __m512i r[16], t[16];
  for (int i = 0; i < 16; ++i)
    r[i] = i < rows ? _mm512_maskz_loadu_epi32(columns, from + i * from_stride) : _mm512_setzero_si512();
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * to_stride, r[i]);
}

// Rows of bf16 as the panels of a B whose columns they are: from (rows, width) to (round_up(rows, 32) / 32) panels of
// (padded_width / 2, 32, 2), zeros where there is nothing. padded_width is a multiple of 32.
inline void pack_rows(const bf16* from, int64_t stride, int64_t rows, int64_t width, int64_t padded_width, bf16* to) {
  for (int64_t panel = 0; panel * kPanel < rows; ++panel)
    for (int64_t k = 0; k < padded_width; k += 32)
      for (int64_t half = 0; half < 2; ++half) {
        const int64_t row = panel * kPanel + half * 16;
        transpose16(reinterpret_cast<const uint32_t*>(from + row * stride + k), stride / 2, rows - row,
                    first((width - k + 1) / 2), reinterpret_cast<uint32_t*>(to + panel * kPanel * padded_width +
                                                                            k * kPanel) + half * 16, kPanel);
      }
}

// Two rows of 32 bf16 as one step of a panel: the pairs side by side.
inline void interleave(__m512i even, __m512i odd, bf16* to) {
  const __m512i low = _mm512_unpacklo_epi16(even, odd), high = _mm512_unpackhi_epi16(even, odd);
  const __m512i order0 = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), order1 = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
  _mm512_storeu_si512(to, _mm512_permutex2var_epi64(low, order0, high));
  _mm512_storeu_si512(to + 32, _mm512_permutex2var_epi64(low, order1, high));
}

// 32 columns of bf16 rows as one panel of a B whose k they count: from (rows, 32) to (padded_rows / 2, 32, 2). Columns
// beyond `columns`, and rows beyond `rows`, are 0.
inline void pack_columns(const bf16* from, int64_t stride, int64_t rows, int64_t columns, int64_t padded_rows,
                         bf16* to) {
  const __mmask32 mask = columns >= 32 ? 0xffffffffu : (1u << columns) - 1;
  for (int64_t i = 0; i < padded_rows; i += 2)
    interleave(i < rows ? _mm512_maskz_loadu_epi16(mask, from + i * stride) : _mm512_setzero_si512(),
               i + 1 < rows ? _mm512_maskz_loadu_epi16(mask, from + (i + 1) * stride) : _mm512_setzero_si512(),
               to + i * kPanel);
}

// The transpose of bf16 rows as a left operand: from (rows, columns) to (columns, rows), rows a multiple of 32, columns
// one of 16, by way of `pairs`, room for rows * columns.
inline void transpose(const bf16* from, int64_t from_stride, int64_t rows, int64_t columns, bf16* to,
                      int64_t to_stride, bf16* pairs) {
  for (int64_t j = 0; j < columns; j += 32) {
    const __mmask32 mask = columns - j >= 32 ? 0xffffffffu : 0xffffu;
    for (int64_t i = 0; i < rows; i += 2)
      interleave(_mm512_maskz_loadu_epi16(mask, from + i * from_stride + j),
                 _mm512_maskz_loadu_epi16(mask, from + (i + 1) * from_stride + j), pairs + i * 32);
    for (int64_t i = 0; i < rows; i += 32)
      for (int64_t half = 0; half < 32 && j + half < columns; half += 16)
        transpose16(reinterpret_cast<const uint32_t*>(pairs) + i / 2 * 32 + half, 32, 16, 0xffff,
                    reinterpret_cast<uint32_t*>(to + (j + half) * to_stride + i), to_stride / 2);
  }
}

// --------------------------------------------------------------------------------------------------------------- checks

inline const bf16* matrix(const Tensor& t, const char* name, int64_t rows = -1, int64_t columns = -1) {
  TORCH_CHECK(t.dim() == 2 && t.scalar_type() == at::kBFloat16 && t.is_cpu(), name, ": a bf16 matrix is needed");
  TORCH_CHECK(t.size(1) <= 1 || t.stride(1) == 1, name, ": the values of a row must lie side by side");
  TORCH_CHECK(rows < 0 || t.size(0) == rows, name, ": ", t.size(0), " rows; ", rows, " are needed");
  TORCH_CHECK(columns < 0 || t.size(1) == columns, name, ": ", t.size(1), " columns; ", columns, " are needed");
  return t.const_data_ptr<bf16>();
}

inline const float* vector(const Tensor& t, const char* name, int64_t size) {
  TORCH_CHECK(t.dim() == 1 && t.scalar_type() == at::kFloat && t.is_cpu() && t.is_contiguous() && t.size(0) == size,
              name, ": ", size, " contiguous fp32 values are needed");
  return t.const_data_ptr<float>();
}

}  // namespace loraloom
