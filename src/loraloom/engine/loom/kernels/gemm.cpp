// Products with frozen weights, and what follows them: y = epilogue(x W^T + u b^T), x (N, K), W (O, K), u (N, R),
// b (O, R), all bf16, sums in fp32. N * O * (K + round_up(R, 32)) * 2 FLOPs; x, W and y pass the caches once where
// either x or W fits the second level (2 MiB a core), else W once for each chunk of rows of x.
//
// Measured on one core of a Xeon with AMX that others were using too, TFLOP/s at N = 848: 768 to 2304 1.4, 768 to 768
// 1.4 to 1.5, 3072 to 768 1.3, where torch's F.linear without bias, low rank and epilogue has 1.4 to 1.5. Tried:
// - epilogues after each block, not in the shadow of the next one's products: 0.70 in place of 0.82 with GELU and 1.13
//   in place of 1.25 without, in one run (and 1.1 to 1.4, GELU's slope 0.5 to 1.0, between two versions);
// - K in pieces of 384 or 256, so that a panel stays in the first cache: bare products rise from 1.5 to 1.9, but here,
//   where sums and results want room as well, it was 1.25 in place of 1.33, with GELU 0.85 in place of 1.0;
// - prefetching the tiles of coming steps into the first cache: 5 to 15% slower; tiles of a panel one after the other,
//   and two panels for each 32 rows: as fast;
// - oneDNN's brgemm on blocks in cache: 1.3 to 1.9 with K whole, 1.2 to 1.8 in pieces of 256 (AMX here: 1.4 to 1.9); the
//   low rank is a second call that reads and writes the sums once more, and no epilogue fits between its products;
// - one polynomial for erf without exp: 11 terms are off by 7e-6 in Phi and 4e-5 in the slope up to 4; and Abramowitz and
//   Stegun 7.1.26 with exp, some 28 instructions: at K = 384 they took as long as the products in whose shadow they
//   run, and GELU's product 1.25 times as long as by `Pieces`, its backward 1.2 times (least of 4 runs in turns).
#include "primitives.h"
#include "kernels.h"

namespace loraloom {
namespace {

constexpr int64_t kCache = 1300 * 1024;  // bytes of x or W that stay in a core's second-level cache beside the rest

// How the product is cut: tasks of `rows` rows and `panels` panels of weights.
struct Plan {
  int64_t rows, panels;
};

Plan plan(int64_t n, int64_t k, int64_t panels, int64_t threads) {
  if (panels * kPanel * k * 2 <= kCache) {  // weights stay, rows stream
    Plan best{16, panels};
    int64_t least = INT64_MAX;
    for (int64_t rows = 128; rows >= 32; rows -= 32) {
      const int64_t longest = ceil_div(ceil_div(n, rows), threads) * rows;
      if (longest < least) least = longest, best.rows = rows;
    }
    return best;
  }
  const int64_t most = std::max<int64_t>(64, kCache / (2 * k) / 32 * 32);
  return {round_up(ceil_div(n, ceil_div(n, most)), 32), 2};
}

// u and b as the product reads them: u (round_up(N, 16), R padded to 32), b packed.
struct LowRank {
  const bf16* u = nullptr;
  const bf16* b = nullptr;
  int64_t rank = 0;  // padded
};

void pack_into(const Tensor& w, int64_t padded_k, bf16* to) {
  const int64_t out = w.size(0), k = w.size(1);
  const bf16* from = w.const_data_ptr<bf16>();
  const int64_t panels = ceil_div(out, kPanel);
  if (w.stride(1) == 1 && w.stride(0) % 2 == 0) {
    on_threads(out * k < 65536 ? 1 : panels, [&](int thread) {
      for (int64_t p = thread; p < panels; p += omp_get_num_threads())
        pack_rows(from + p * kPanel * w.stride(0), w.stride(0), std::min(kPanel, out - p * kPanel), k, padded_k,
                  to + p * kPanel * padded_k);
    });
  } else if (w.stride(0) == 1) {
    on_threads(out * k < 65536 ? 1 : panels, [&](int thread) {
      for (int64_t p = thread; p < panels; p += omp_get_num_threads())
        pack_columns(from + p * kPanel, w.stride(1), k, std::min(kPanel, out - p * kPanel), padded_k,
                     to + p * kPanel * padded_k);
    });
  } else {
    std::memset(to, 0, panels * kPanel * padded_k * sizeof(bf16));
    for (int64_t o = 0; o < out; ++o)
      for (int64_t i = 0; i < k; ++i)
        to[(o / kPanel * padded_k + i / 2 * 2) * kPanel + o % kPanel * 2 + i % 2] =
            from[o * w.stride(0) + i * w.stride(1)];
  }
}

LowRank low_rank(const Optional& u, const Optional& b, int64_t n, int64_t out) {
  TORCH_CHECK(u.has_value() == b.has_value(), "u and b come together");
  if (!u.has_value()) return {};
  const int64_t r = u->size(1), rank = round_up(r, 32), rows = round_up(n, 16);
  const bf16* from = matrix(*u, "u", n);
  TORCH_CHECK(b->dim() == 2 && b->scalar_type() == at::kBFloat16 && b->size(0) == out && b->size(1) == r,
              "b: a bf16 matrix of ", out, " x ", r, " is needed");
  bf16* left = static_cast<bf16*>(scratch(kLowRankLeft, rows * rank * sizeof(bf16)));
  for (int64_t i = 0; i < rows; ++i) {
    bf16* to = left + i * rank;
    for (int64_t j = 0; j < rank; j += 32) {
      const int64_t there = i < n ? r - j : 0;
      const __mmask32 mask = there >= 32 ? 0xffffffffu : there <= 0 ? 0 : (1u << there) - 1;
      _mm512_store_si512(to + j, _mm512_maskz_loadu_epi16(mask, from + i * u->stride(0) + j));
    }
  }
  bf16* right = static_cast<bf16*>(scratch(kLowRankRight, round_up(out, kPanel) * rank * sizeof(bf16)));
  pack_into(*b, rank, right);
  return {left, right, rank};
}

// Runs the product. epilogue.take(row, column, c) takes 32 sums of one row, epilogue.fetch(row, column) asks for what
// take will need; rows_done is called with each range of rows whose every column has been taken, by a thread that may
// still have them in its cache. The sums of a block are taken between the tile products of the block after it, in
// whose shadow the vector units are idle.
template <class Epilogue, class RowsDone>
void run(const Tensor& x, const Tensor& packed, int64_t out, const LowRank& low, const Epilogue& epilogue,
         const RowsDone& rows_done) {
  const int64_t n = x.size(0), k = x.size(1), stride = x.stride(0);
  const bf16* a = matrix(x, "x");
  TORCH_CHECK(packed.dim() == 4 && packed.size(0) * kPanel == out && packed.size(1) * 2 == k && k % 32 == 0,
              "packed: not a matrix of ", out, " x ", k, " (multiples of 64 and 32) as pack() lays it out");
  const bf16* weights = packed.const_data_ptr<bf16>();
  const int64_t panels = packed.size(0);

  // The last rows, where they are fewer than 16, are multiplied from a copy: tiles have 16.
  const int64_t whole = n / 16 * 16;
  bf16* tail = nullptr;
  if (whole < n) {
    tail = static_cast<bf16*>(scratch(kTail, 16 * k * sizeof(bf16)));
    for (int64_t i = whole; i < whole + 16; ++i) {
      if (i < n)
        std::memcpy(tail + (i - whole) * k, a + i * stride, k * sizeof(bf16));
      else
        std::memset(tail + (i - whole) * k, 0, k * sizeof(bf16));
    }
  }
  const auto left = [&](int64_t row) {
    Left l{row < whole ? a + row * stride : tail, row < whole ? stride : k, nullptr, 0};
    if (row + 16 < n) {
      l.below = row + 16 < whole ? a + (row + 16) * stride : tail;
      l.below_stride = row + 16 < whole ? stride : k;
    }
    return l;
  };

  const int64_t threads = at::get_num_threads();
  const Plan cut = plan(n, k, panels, threads);
  const int64_t across = ceil_div(panels, cut.panels), tasks = ceil_div(n, cut.rows) * across;
  const int64_t each = ceil_div(32, k / 32);  // rows that are taken in the shadow of a step of k
  std::atomic<int64_t> next{0};
  const auto work = [&](int) {
    const Tiles tiles;
    float* buffers = static_cast<float*>(scratch(kBlock, 2 * 32 * kPanel * sizeof(float)));
    float *c = buffers, *pending = buffers + 32 * kPanel;
    int64_t pending_row = 0, pending_column = 0, pending_rows = 0, taken = 0;
    const auto flush = [&] {
      for (; taken < pending_rows; ++taken)
        epilogue.take(pending_row + taken, pending_column, pending + taken * kPanel);
    };
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      const int64_t begin = task / across * cut.rows, end = std::min(n, begin + cut.rows);
      const int64_t from = task % across * cut.panels, to = std::min(panels, from + cut.panels);
      for (int64_t panel = from; panel < to; ++panel) {
        const bf16* right = weights + panel * kPanel * k;
        // The next panel is asked for in equal parts with each step of this one.
        const char* coming = reinterpret_cast<const char*>(right + kPanel * k);
        const char* last = coming + (across > 1 && panel + 1 < panels ? k * kPanel * 2 : 0);
        const int64_t part = ceil_div(k * kPanel * 2, ceil_div(end - begin, 32) * (k / 32) * 64) * 64;
        for (int64_t row = begin; row < end; row += 32) {
          const Left rows = left(row);
          const Left more = rows_of(low.u + row * low.rank, low.rank, row + 16 < n ? 32 : 16);
          const int64_t count = std::min<int64_t>(32, end - row);
          product(rows, right, k, c, kPanel, false, &more, low.b + panel * kPanel * low.rank, low.rank,
                  [&](int64_t step) {
                    const int64_t until = std::min(pending_rows, taken + each);
                    for (; taken < until; ++taken)
                      epilogue.take(pending_row + taken, pending_column, pending + taken * kPanel);
                    const int64_t wanted = step / 32 * each;
                    for (int64_t i = wanted; i < std::min(count, wanted + each); ++i)
                      epilogue.fetch(row + i, panel * kPanel);
                    for (int64_t byte = 0; byte < part && coming < last; byte += 64, coming += 64)
                      _mm_prefetch(coming, _MM_HINT_T1);
                  });
          flush();
          std::swap(c, pending);
          pending_row = row, pending_column = panel * kPanel, pending_rows = count, taken = 0;
        }
      }
      if (across == 1) {
        flush();
        pending_rows = 0;
        rows_done(begin, end);
      }
    }
    flush();
  };
  on_threads(tasks, work);
  if (across > 1) {
    const int64_t step = ceil_div(n, threads);
    on_threads(threads, [&](int thread) {
      for (int64_t t = thread; t < threads; t += omp_get_num_threads())
        if (t * step < n) rows_done(t * step, std::min(n, (t + 1) * step));
    });
  }
}

struct NoRows {
  void operator()(int64_t, int64_t) const {}
};

// A function of x >= 0 that is 0 beyond 5.8, by polynomials of degree 4 on pieces of 0.4 around 0, 0.4, ..., 5.6: their
// coefficients fit five registers, and a value costs 13 instructions. They agree with the function at the five Chebyshev
// nodes of each piece. Off by at most 2.2e-7 for `kNormalTail` and 1.2e-6 for `kSlopeTail`, rounding in fp32 included.
class Pieces {
 public:
  template <class F>
  explicit Pieces(const F& f) {
    for (int piece = 0; piece < 15; ++piece) {
      double nodes[5], newton[5], powers[5] = {};
      for (int i = 0; i < 5; ++i) nodes[i] = std::cos(M_PI * (2 * i + 1) / 10) / 2, newton[i] = f((piece + nodes[i]) * kWidth);
      for (int order = 1; order < 5; ++order)
        for (int i = 4; i >= order; --i) newton[i] = (newton[i] - newton[i - 1]) / (nodes[i] - nodes[i - order]);
      for (int i = 4; i >= 0; --i) {
        for (int power = 4; power > 0; --power) powers[power] = powers[power - 1] - nodes[i] * powers[power];
        powers[0] = newton[i] - nodes[i] * powers[0];
      }
      for (int power = 0; power < 5; ++power) powers_[power][piece] = static_cast<float>(powers[power]);
    }
  }

  __m512 operator()(__m512 x) const {
    const __m512 scale = _mm512_set1_ps(1 / kWidth), magic = _mm512_set1_ps(12582912.f);  // 1.5 * 2^23: rounds to 1
    x = _mm512_min_ps(_mm512_set1_ps(15 * kWidth), x);  // of a NaN and a number, the second
    const __m512 rounded = _mm512_fmadd_ps(x, scale, magic);
    const __m512 r = _mm512_fmsub_ps(x, scale, _mm512_sub_ps(rounded, magic));
    const __m512i piece = _mm512_castps_si512(rounded);  // in the four lowest bits
    __m512 y = coefficient(4, piece);
    for (int power = 3; power >= 0; --power) y = _mm512_fmadd_ps(y, r, coefficient(power, piece));
    return y;
  }

 private:
  static constexpr float kWidth = 0.4f;
  alignas(64) float powers_[5][16] = {};

  __m512 coefficient(int power, __m512i piece) const {
    return _mm512_permutexvar_ps(piece, _mm512_load_ps(powers_[power]));
  }
};

double normal_tail(double x) { return std::erfc(x * M_SQRT1_2) / 2; }
double normal_density(double x) { return std::exp(-x * x / 2) * M_SQRT1_2 * M_2_SQRTPI / 2; }

const Pieces kNormalTail(normal_tail);  // Phi(-x)
const Pieces kSlopeTail([](double x) { return normal_tail(x) - x * normal_density(x); });  // gelu'(-x)

// a Phi(a) = max(a, 0) - |a| Phi(-|a|).
inline __m512 gelu(__m512 a) {
  const __m512 size = _mm512_abs_ps(a);
  return _mm512_fnmadd_ps(size, kNormalTail(size), _mm512_max_ps(a, _mm512_setzero_ps()));
}

// Phi(a) + a phi(a); gelu'(a) = 1 - gelu'(-a).
inline __m512 gelu_slope(__m512 a) {
  const __m512 tail = kSlopeTail(_mm512_abs_ps(a));
  return _mm512_mask_sub_ps(tail, _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ), _mm512_set1_ps(1.f), tail);
}

// y = dropout(sums + bias) + residual, into y.
struct ToResidual {
  bf16* y;
  int64_t out;
  const float* bias;
  const bf16* residual;
  int64_t residual_stride;
  Dropout drop;

  void fetch(int64_t row, int64_t column) const {
    if (residual != nullptr) loraloom::fetch(residual + row * residual_stride + column);
    fetch_for_writing(y + row * out + column);
  }
  __m512 value(int64_t row, int64_t column, const float* c) const {
    __m512 v = _mm512_load_ps(c);
    if (bias != nullptr) v = _mm512_add_ps(v, _mm512_loadu_ps(bias + column));
    if (drop.on) v = drop.apply(v, static_cast<uint32_t>(row * out + column));
    if (residual != nullptr) v = _mm512_add_ps(v, load(residual + row * residual_stride + column));
    return v;
  }
  void take(int64_t row, int64_t column, const float* c) const {
    store(y + row * out + column, value(row, column, c), value(row, column + 16, c + 16));
  }
};

// a = sums + bias and gelu(a); a is null where nobody will read it.
struct ToGelu {
  bf16 *a, *g;
  int64_t out;
  const float* bias;

  void fetch(int64_t row, int64_t column) const {
    if (a != nullptr) fetch_for_writing(a + row * out + column);
    fetch_for_writing(g + row * out + column);
  }
  void take(int64_t row, int64_t column, const float* c) const {
    __m512 low = _mm512_load_ps(c), high = _mm512_load_ps(c + 16);
    if (bias != nullptr) {
      low = _mm512_add_ps(low, _mm512_loadu_ps(bias + column));
      high = _mm512_add_ps(high, _mm512_loadu_ps(bias + column + 16));
    }
    if (a != nullptr) store(a + row * out + column, low, high);
    store(g + row * out + column, gelu(low), gelu(high));
  }
};

// sums * gelu'(a).
struct ToSlope {
  bf16* da;
  int64_t out;
  const bf16* a;
  int64_t a_stride;

  void fetch(int64_t row, int64_t column) const {
    loraloom::fetch(a + row * a_stride + column);
    fetch_for_writing(da + row * out + column);
  }
  void take(int64_t row, int64_t column, const float* c) const {
    const bf16* from = a + row * a_stride + column;
    store(da + row * out + column, _mm512_mul_ps(_mm512_load_ps(c), gelu_slope(load(from))),
          _mm512_mul_ps(_mm512_load_ps(c + 16), gelu_slope(load(from + 16))));
  }
};

}  // namespace

// w (O, K), any strides, as x W^T reads it: (O / 32 rounded up to an even number, K / 2, 32, 2).
Tensor pack(const Tensor& w) {
  TORCH_CHECK(w.dim() == 2 && w.scalar_type() == at::kBFloat16, "w: a bf16 matrix is needed");
  TORCH_CHECK(w.size(0) % kPair == 0 && w.size(1) % 32 == 0, "w: ", w.size(0), " x ", w.size(1),
              "; multiples of 64 and 32 are needed");
  Tensor packed = at::detail::empty_cpu({w.size(0) / kPanel, w.size(1) / 2, kPanel, 2}, at::kBFloat16);
  pack_into(w, w.size(1), packed.mutable_data_ptr<bf16>());
  return packed;
}

// dropout(x W^T + u b^T + bias) + residual: (N, O).
Tensor linear(const Tensor& x, const Tensor& packed, int64_t out, const Optional& bias, const Optional& u,
              const Optional& b, const Optional& residual, double p, int64_t key0, int64_t key1) {
  const int64_t n = x.size(0);
  Tensor y = make(x.size(0), out);
  const ToResidual epilogue{y.mutable_data_ptr<bf16>(),
                         out,
                         bias ? vector(*bias, "bias", out) : nullptr,
                         residual ? matrix(*residual, "residual", n, out) : nullptr,
                         residual ? residual->stride(0) : 0,
                         Dropout(p, key0, key1)};
  run(x, packed, out, low_rank(u, b, n, out), epilogue, NoRows{});
  return y;
}

// (a, gelu(a)) of a = x W^T + u b^T + bias: (N, O) each, a without rows where it is not kept.
std::tuple<Tensor, Tensor> linear_gelu(const Tensor& x, const Tensor& packed, int64_t out, const Optional& bias,
                                       const Optional& u, const Optional& b, bool keep) {
  Tensor a = make(keep ? x.size(0) : 0, out), g = make(x.size(0), out);
  bf16 *to_a = keep ? a.mutable_data_ptr<bf16>() : nullptr, *to_g = g.mutable_data_ptr<bf16>();
  const ToGelu epilogue{to_a, to_g, out, bias ? vector(*bias, "bias", out) : nullptr};
  run(x, packed, out, low_rank(u, b, x.size(0), out), epilogue, NoRows{});
  return {a, g};
}

// (dy W + u b^T) * gelu'(a): (N, O); packed holds the transposed weight.
Tensor linear_gelu_backward(const Tensor& dy, const Tensor& packed, int64_t out, const Optional& u, const Optional& b,
                            const Tensor& a) {
  Tensor da = make(dy.size(0), out);
  const ToSlope epilogue{da.mutable_data_ptr<bf16>(), out, matrix(a, "a", dy.size(0), out), a.stride(0)};
  run(dy, packed, out, low_rank(u, b, dy.size(0), out), epilogue, NoRows{});
  return da;
}

// (r, norm(r)) of r = dropout(x W^T + u b^T + bias) + residual: (N, O) each. Where r is not kept, it has no rows, and
// the norm is taken in place.
std::tuple<Tensor, Tensor> linear_norm(const Tensor& x, const Tensor& packed, int64_t out, const Optional& bias,
                                       const Optional& u, const Optional& b, const Tensor& residual, double p,
                                       int64_t key0, int64_t key1, const Tensor& gamma, const Tensor& beta, double eps,
                                       bool keep) {
  const int64_t n = x.size(0);
  Tensor r = make(keep ? n : 0, out), h = make(n, out);
  bf16 *to_h = h.mutable_data_ptr<bf16>(), *to_r = keep ? r.mutable_data_ptr<bf16>() : to_h;
  const float *gain = vector(gamma, "gamma", out), *shift = vector(beta, "beta", out);
  const ToResidual epilogue{to_r,
                         out,
                         bias ? vector(*bias, "bias", out) : nullptr,
                         matrix(residual, "residual", n, out),
                         residual.stride(0),
                         Dropout(p, key0, key1)};
  const auto rows_done = [=](int64_t from, int64_t to) {
    float* row = static_cast<float*>(scratch(kRow, out * sizeof(float)));
    for (int64_t i = from; i < to; ++i)
      norm_row(to_r + i * out, gain, shift, static_cast<float>(eps), out, row, to_h + i * out);
  };
  run(x, packed, out, low_rank(u, b, n, out), epilogue, rows_done);
  return {r, h};
}

}  // namespace loraloom
