// Softmax attention within each sequence of an unpadded batch, forward and backward, a task for each (sequence, head).
// Of a sequence of T tokens and a head of d: 4 T^2 d FLOPs forward and 10 T^2 d backward, T and d padded to 32; a block
// of 32 (backward: 64) queries takes all its keys at once, so up to T of about 512 its scores stay in cache. The
// probabilities are computed again in the backward pass, so only the context is kept. 8 bytes a value of D move forward,
// 24 backward.
//
// Where the 11,300 cycles of a task of 53 tokens and d = 64 go: 25% wait for its rows (fetched ahead), 15% lay q, k and v
// out, 26% multiply, 27% softmax, 8% write. Tried: exp by base e with its mask kept as -inf, three passes over a row
// in place of two (15 to 30% slower forward at 300 tokens, as fast at 53); no fetching ahead (as fast, within noise).
#include <algorithm>

#include "primitives.h"
#include "kernels.h"
#include "texts.h"

namespace loraloom {
namespace {

// What both directions are given.
struct Job {
  const bf16* qkv;
  int64_t stride, rows, width, heads, depth, padded_depth;
  float scale;
  int64_t window;
  Dropout drop;
  Biases biases;
  Texts texts;
};

Job read(const Tensor& qkv, const Tensor& offsets, int64_t heads, double scale, const Optional& bias, int64_t window,
         double p, int64_t key0, int64_t key1) {
  const bf16* data = matrix(qkv, "qkv");
  const int64_t rows = qkv.size(0), width = qkv.size(1) / 3;
  check_heads(qkv, heads);
  TORCH_CHECK(window >= 0, "window: ", window, "; it must be 0 (all keys are seen) or more");
  Texts texts(offsets, rows);
  const Biases biases(bias, heads, texts.longest);
  const int64_t depth = width / heads;
  return {data, qkv.stride(0), rows, width, heads, depth, round_up(depth, 32), static_cast<float>(scale), window,
          Dropout(p, key0, key1), biases, std::move(texts)};
}

// Rows of a head, one after the other at 64-aligned addresses, zeros beyond.
void copy_rows(const bf16* from, int64_t stride, int64_t rows, int64_t depth, int64_t padded_rows, int64_t padded_depth,
               bf16* to) {
  for (int64_t i = 0; i < padded_rows; ++i)
    for (int64_t j = 0; j < padded_depth; j += 32) {
      const __mmask32 mask = i >= rows ? 0 : depth - j >= 32 ? 0xffffffffu : (1u << (depth - j)) - 1;
      _mm512_store_si512(to + i * padded_depth + j, _mm512_maskz_loadu_epi16(mask, from + i * stride + j));
    }
}

constexpr float kLog2E = 1.44269504f;

// The softmax of one row of scores, short of its division: gives each 32 keys' exp(scale s + bias - maximum), 0 for keys
// outside [from, to), to sink(offset from keys.begin, low, high), and returns the inverse of their sum.
template <class Sink>
float softmax_row(float* s, const Range& keys, int64_t from, int64_t to, float scale, const float* bias,
                  const Sink& sink) {
  const int64_t width = keys.end - keys.begin;
  const __m512 lowest = _mm512_set1_ps(-INFINITY), log2e = _mm512_set1_ps(kLog2E);
  __m512 factor = _mm512_set1_ps(scale * kLog2E);
  const __m512i places = _mm512_add_epi32(iota(), _mm512_set1_epi32(static_cast<int>(keys.begin - from)));
  const __m512i count = _mm512_set1_epi32(static_cast<int>(to - from));
  const auto seen = [&](int64_t j) {
    return _mm512_cmplt_epu32_mask(_mm512_add_epi32(places, _mm512_set1_epi32(static_cast<int>(j))), count);
  };
  __m512 top = lowest;
  if (bias != nullptr) {
    for (int64_t j = 0; j < width; j += 16) {
      const __m512 add = _mm512_maskz_loadu_ps(seen(j), bias + keys.begin + j);
      _mm512_storeu_ps(s + j, _mm512_fmadd_ps(_mm512_loadu_ps(s + j), factor, _mm512_mul_ps(add, log2e)));
    }
    factor = _mm512_set1_ps(1.f);
  }
  for (int64_t j = 0; j < width; j += 16)
    top = _mm512_mask_max_ps(top, seen(j), top, _mm512_mul_ps(_mm512_loadu_ps(s + j), factor));
  const __m512 maximum = _mm512_set1_ps(_mm512_reduce_max_ps(top));
  __m512 sum0 = _mm512_setzero_ps(), sum1 = sum0;
  for (int64_t j = 0; j < width; j += 32) {
    const __m512 low = _mm512_fmsub_ps(_mm512_loadu_ps(s + j), factor, maximum);
    const __m512 high = _mm512_fmsub_ps(_mm512_loadu_ps(s + j + 16), factor, maximum);
    const __m512 e0 = _mm512_maskz_mov_ps(seen(j), power_of_two(low));
    const __m512 e1 = _mm512_maskz_mov_ps(seen(j + 16), power_of_two(high));
    sum0 = _mm512_add_ps(sum0, e0);
    sum1 = _mm512_add_ps(sum1, e1);
    sink(j, e0, e1);
  }
  return 1.f / _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1));
}

constexpr int64_t kAhead = 512;  // tokens of a sequence that are fetched ahead: more would push out what is in use

// Asks for a head's columns of some rows, into the second-level cache.
inline void fetch_rows(const bf16* from, int64_t stride, int64_t rows, int64_t depth) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < depth; j += 32) _mm_prefetch(from + i * stride + j, _MM_HINT_T1);
}

inline void fetch_rows_for_writing(bf16* to, int64_t stride, int64_t rows, int64_t depth) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < depth; j += 32) __builtin_prefetch(to + i * stride + j, 1, 2);
}

// Cuts one piece of memory into 64-aligned parts.
struct Cutter {
  char* at;
  template <class T>
  T* take(int64_t count) {
    T* part = reinterpret_cast<T*>(at);
    at += round_up(count * static_cast<int64_t>(sizeof(T)), 64);
    return part;
  }
};

// Calls body(first row, length, head, memory) for all heads of all sequences, and ahead(first row, length, head) one task
// before: a head's rows lie far apart, where no processor prefetches by itself.
template <class Ahead, class Task>
void each_head(const Job& job, int64_t bytes, const Ahead& ahead, const Task& body) {
  const int64_t tasks = static_cast<int64_t>(job.texts.order.size()) * job.heads;
  std::atomic<int64_t> next{0};
  on_threads(tasks, [&](int) {
    const Tiles tiles;
    char* memory = static_cast<char*>(scratch(kAttention, bytes));
    const auto begin = [&](int64_t task) -> int64_t { return job.texts.offsets[job.texts.order[task / job.heads]]; };
    const auto length = [&](int64_t task) { return job.texts.length(job.texts.order[task / job.heads]); };
    int64_t task = next.fetch_add(1, std::memory_order_relaxed);
    while (task < tasks) {
      const int64_t upcoming = next.fetch_add(1, std::memory_order_relaxed);
      if (upcoming < tasks && length(upcoming) <= kAhead) ahead(begin(upcoming), length(upcoming), upcoming % job.heads);
      if (length(task) > 0) body(begin(task), length(task), task % job.heads, memory);
      task = upcoming;
    }
  });
}

}  // namespace

// softmax(scale q k^T + bias) v of every head: (N, D).
Tensor attention(const Tensor& qkv, const Tensor& offsets, int64_t heads, double scale, const Optional& bias,
                 int64_t window, double p, int64_t key0, int64_t key1) {
  const Job job = read(qkv, offsets, heads, scale, bias, window, p, key0, key1);
  Tensor context = make(job.rows, job.width);
  bf16* to = context.mutable_data_ptr<bf16>();
  const int64_t most = round_up(job.texts.longest, 32), deep = job.padded_depth, depth = job.depth;
  const int64_t bytes = most * deep * 3 * 2 + 32 * (most + 16) * 4 + 32 * (most + 32) * 2 + 32 * deep * 4 + 1024;
  const auto ahead = [&](int64_t begin, int64_t length, int64_t h) {
    for (int64_t part = 0; part < 3; ++part)
      fetch_rows(job.qkv + begin * job.stride + part * job.width + h * depth, job.stride, length, depth);
    fetch_rows_for_writing(to + begin * job.width + h * depth, job.width, length, depth);
  };
  each_head(job, bytes, ahead, [&](int64_t begin, int64_t length, int64_t h, char* memory) {
    Cutter cut{memory};
    const int64_t padded = round_up(length, 32), score_stride = padded + 16, weight_stride = padded + 32;
    bf16 *q = cut.take<bf16>(padded * deep), *k = cut.take<bf16>(padded * deep), *v = cut.take<bf16>(padded * deep);
    float* scores = cut.take<float>(32 * score_stride);
    bf16* weights = cut.take<bf16>(32 * weight_stride);
    float* sums = cut.take<float>(32 * deep);
    const bf16* head = job.qkv + begin * job.stride + h * depth;
    copy_rows(head, job.stride, length, depth, padded, deep, q);
    pack_rows(head + job.width, job.stride, length, depth, deep, k);
    for (int64_t j = 0; j < deep; j += 32)
      pack_columns(head + 2 * job.width + j, job.stride, length, depth - j, padded, v + j * padded);
    for (int64_t block = 0; block < length; block += 32) {
      const int64_t rows = std::min<int64_t>(32, length - block);
      const Range keys(block, block + rows - 1, length, job.window);
      for (int64_t j = keys.begin; j < keys.end; j += 32)
        product(rows_of(q + block * deep, deep, rows), k + j * deep, deep, scores + j - keys.begin, score_stride);
      float inverse[32];
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t query = block + i;
        const int64_t from = job.window ? query - job.window : 0;
        const int64_t until = job.window ? std::min(length, query + job.window + 1) : length;
        float* s = scores + i * score_stride;
        const float* add = job.biases.of(h, query);
        const uint32_t index = static_cast<uint32_t>((((begin + query) * job.heads + h) << 13) + keys.begin);
        inverse[i] = softmax_row(s, keys, from, until, job.scale, add, [&](int64_t j, __m512 low, __m512 high) {
          if (job.drop.on) {
            low = job.drop.apply(low, index + static_cast<uint32_t>(j));
            high = job.drop.apply(high, index + static_cast<uint32_t>(j) + 16);
          }
          store(weights + i * weight_stride + j, low, high);
        });
      }
      for (int64_t j = 0; j < deep; j += 32)
        product(rows_of(weights, weight_stride, rows), v + j * padded + keys.begin * 32, keys.end - keys.begin,
                sums + j, deep);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < depth; j += 16)
          store(to + (begin + block + i) * job.width + h * depth + j,
                _mm512_mul_ps(_mm512_loadu_ps(sums + i * deep + j), _mm512_set1_ps(inverse[i])));
    }
  });
  return context;
}

// The gradient (N, 3D) of qkv. With P the probabilities, Z their dropout factors and O the context:
// dV = (P Z)^T dO, dS = P (Z dO V^T - rowsum(dO O)), dQ = scale dS K, dK = scale dS^T Q.
Tensor attention_backward(const Tensor& dctx, const Tensor& qkv, const Tensor& ctx, const Tensor& offsets,
                          int64_t heads, double scale, const Optional& bias, int64_t window, double p, int64_t key0,
                          int64_t key1) {
  constexpr int64_t kQueries = 64;
  const Job job = read(qkv, offsets, heads, scale, bias, window, p, key0, key1);
  const bf16* gradient = matrix(dctx, "dctx", job.rows, job.width);
  const bf16* context = matrix(ctx, "ctx", job.rows, job.width);
  const int64_t gradient_stride = dctx.stride(0), context_stride = ctx.stride(0);
  Tensor result = make(job.rows, 3 * job.width);
  bf16* to = result.mutable_data_ptr<bf16>();
  const int64_t most = round_up(job.texts.longest, 32), deep = job.padded_depth, depth = job.depth;
  const int64_t bytes = most * deep * 2 * 3 + most * deep * 4 * 2 + kQueries * deep * 2 * 4 +
                        kQueries * (most + 16) * 4 * 2 + kQueries * (most + 32) * 2 * 2 + most * kQueries * 2 +
                        kQueries * 32 * 2 + kQueries * deep * 4 + 2048;
  const auto ahead = [&](int64_t begin, int64_t length, int64_t h) {
    for (int64_t part = 0; part < 3; ++part) {
      const int64_t column = part * job.width + h * depth;
      fetch_rows(job.qkv + begin * job.stride + column, job.stride, length, depth);
      fetch_rows_for_writing(to + begin * 3 * job.width + column, 3 * job.width, length, depth);
    }
    fetch_rows(gradient + begin * gradient_stride + h * depth, gradient_stride, length, depth);
    fetch_rows(context + begin * context_stride + h * depth, context_stride, length, depth);
  };
  each_head(job, bytes, ahead, [&](int64_t begin, int64_t length, int64_t h, char* memory) {
    Cutter cut{memory};
    const int64_t padded = round_up(length, 32), score_stride = padded + 16, weight_stride = padded + 32;
    bf16* k_rows = cut.take<bf16>(padded * deep);     // K as B of Q K^T
    bf16* k_columns = cut.take<bf16>(padded * deep);  // K as B of dS K
    bf16* v_rows = cut.take<bf16>(padded * deep);     // V as B of dO V^T
    float *dk = cut.take<float>(padded * deep), *dv = cut.take<float>(padded * deep);
    bf16 *q = cut.take<bf16>(kQueries * deep), *q_columns = cut.take<bf16>(kQueries * deep);
    bf16 *d_out = cut.take<bf16>(kQueries * deep), *d_out_columns = cut.take<bf16>(kQueries * deep);
    float *scores = cut.take<float>(kQueries * score_stride), *d_weights = cut.take<float>(kQueries * score_stride);
    bf16 *weights = cut.take<bf16>(kQueries * weight_stride), *d_scores = cut.take<bf16>(kQueries * weight_stride);
    bf16* turned = cut.take<bf16>(padded * kQueries);
    bf16* pairs = cut.take<bf16>(kQueries * 32);
    float* sums = cut.take<float>(kQueries * deep);
    const bf16* head = job.qkv + begin * job.stride + h * depth;
    pack_rows(head + job.width, job.stride, length, depth, deep, k_rows);
    pack_rows(head + 2 * job.width, job.stride, length, depth, deep, v_rows);
    for (int64_t j = 0; j < deep; j += 32)
      pack_columns(head + job.width + j, job.stride, length, depth - j, padded, k_columns + j * padded);
    const bool several = length > kQueries;  // blocks of queries, that add up in dk and dv
    if (several) {
      std::memset(dk, 0, padded * deep * sizeof(float));
      std::memset(dv, 0, padded * deep * sizeof(float));
    }
    for (int64_t block = 0; block < length; block += kQueries) {
      const int64_t rows = std::min(kQueries, length - block), full = round_up(rows, 32);
      const Range keys(block, block + rows - 1, length, job.window);
      const int64_t width = keys.end - keys.begin;
      const bf16* d_rows = gradient + (begin + block) * gradient_stride + h * depth;
      copy_rows(head + block * job.stride, job.stride, rows, depth, full, deep, q);
      copy_rows(d_rows, gradient_stride, rows, depth, full, deep, d_out);
      for (int64_t j = 0; j < deep; j += 32) {
        pack_columns(q + j, deep, full, 32, full, q_columns + j * full);
        pack_columns(d_out + j, deep, full, 32, full, d_out_columns + j * full);
      }
      for (int64_t i = 0; i < rows; i += 32)
        for (int64_t j = keys.begin; j < keys.end; j += 32) {
          const int64_t at = i * score_stride + j - keys.begin;
          product(rows_of(q + i * deep, deep, rows - i), k_rows + j * deep, deep, scores + at, score_stride);
          product(rows_of(d_out + i * deep, deep, rows - i), v_rows + j * deep, deep, d_weights + at, score_stride);
        }
      for (int64_t i = 0; i < full; ++i) {
        bf16 *w = weights + i * weight_stride, *ds = d_scores + i * weight_stride;
        if (i >= rows) {
          std::memset(w, 0, width * sizeof(bf16));
          std::memset(ds, 0, width * sizeof(bf16));
          continue;
        }
        const int64_t query = block + i;
        const int64_t from = job.window ? query - job.window : 0;
        const int64_t until = job.window ? std::min(length, query + job.window + 1) : length;
        float* s = scores + i * score_stride;
        const float* dw = d_weights + i * score_stride;
        const float* add = job.biases.of(h, query);
        const __m512 inverse = _mm512_set1_ps(
            softmax_row(s, keys, from, until, job.scale, add, [&](int64_t j, __m512 low, __m512 high) {
              _mm512_storeu_ps(s + j, low);
              _mm512_storeu_ps(s + j + 16, high);
            }));
        const bf16* o = context + (begin + query) * context_stride + h * depth;
        __m512 along = _mm512_setzero_ps();
        for (int64_t j = 0; j < depth; j += 16)
          along = _mm512_fmadd_ps(load(d_rows + i * gradient_stride + j), load(o + j), along);
        const __m512 level = _mm512_set1_ps(_mm512_reduce_add_ps(along)), factor = _mm512_set1_ps(job.scale);
        const uint32_t index = static_cast<uint32_t>((((begin + query) * job.heads + h) << 13) + keys.begin);
        for (int64_t j = 0; j < width; j += 16) {
          const __m512 probability = _mm512_mul_ps(_mm512_loadu_ps(s + j), inverse);
          __m512 dp = _mm512_loadu_ps(dw + j), dropped = probability;
          if (job.drop.on) {
            const uint32_t start = index + static_cast<uint32_t>(j);
            const __mmask16 kept = job.drop.kept(_mm512_add_epi32(_mm512_set1_epi32(start), iota()));
            dropped = _mm512_maskz_mul_ps(kept, probability, _mm512_set1_ps(job.drop.scale));
            dp = _mm512_maskz_mul_ps(kept, dp, _mm512_set1_ps(job.drop.scale));
          }
          store(w + j, dropped);
          store(ds + j, _mm512_mul_ps(_mm512_mul_ps(probability, factor), _mm512_sub_ps(dp, level)));
        }
      }
      for (int64_t i = 0; i < rows; i += 32)
        for (int64_t j = 0; j < deep; j += 32)
          product(rows_of(d_scores + i * weight_stride, weight_stride, rows - i),
                  k_columns + j * padded + keys.begin * 32, width, sums + i * deep + j, deep);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < depth; j += 16)
          store(to + (begin + block + i) * 3 * job.width + h * depth + j, _mm512_loadu_ps(sums + i * deep + j));
      const auto accumulate = [&](const bf16* left, const bf16* right, float* into) {
        transpose(left, weight_stride, full, width, turned, full, pairs);
        for (int64_t i = 0; i < width; i += 32)
          for (int64_t j = 0; j < deep; j += 32)
            product(rows_of(turned + i * full, full, 32), right + j * full, full, into + (keys.begin + i) * deep + j,
                    deep, several);
      };
      accumulate(weights, d_out_columns, dv);
      accumulate(d_scores, q_columns, dk);
    }
    for (int64_t i = 0; i < length; ++i)
      for (int64_t j = 0; j < depth; j += 16) {
        bf16* row = to + (begin + i) * 3 * job.width + h * depth + j;
        store(row + job.width, _mm512_loadu_ps(dk + i * deep + j));
        store(row + 2 * job.width, _mm512_loadu_ps(dv + i * deep + j));
      }
  });
  return result;
}

}  // namespace loraloom
