// Attention of each text's first token alone, forward and backward: all that pooling by the first token needs of the last
// layer. 4 T d FLOPs a text and head forward, 10 T d backward, on vectors of 16 values; bound by the one passage over keys
// and values (4 bytes a value), as one row of a tile product would be, too. A task for each text and head.
#include <vector>

#include "primitives.h"
#include "kernels.h"
#include "texts.h"

namespace loraloom {
namespace {

// A text's keys and values of one head, and what weighs them.
struct View {
  const bf16 *q, *k, *v;
  int64_t stride, depth, length;
  float scale;
  const float* bias;  // of the first query
  int64_t window;
  uint32_t number;  // of the first probability, for the dropout
};

float dot(const bf16* a, const bf16* b, int64_t depth) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < depth; i += 16) sum = _mm512_fmadd_ps(load(a + i), load(b + i), sum);
  return _mm512_reduce_add_ps(sum);
}

// The probabilities of the first query, into p; room for the length rounded up to 16, zeros beyond it.
void probabilities(const View& t, float* p) {
  const int64_t seen = t.window ? std::min(t.length, t.window + 1) : t.length;
  float top = -INFINITY;
  for (int64_t j = 0; j < seen; ++j) {
    p[j] = t.scale * dot(t.q, t.k + j * t.stride, t.depth) + (t.bias == nullptr ? 0.f : t.bias[j]);
    top = std::max(top, p[j]);
  }
  float sum = 0;
  for (int64_t j = 0; j < seen; ++j) sum += p[j] = std::exp(p[j] - top);
  for (int64_t j = 0; j < seen; ++j) p[j] /= sum;
  for (int64_t j = seen; j < round_up(t.length, 16); ++j) p[j] = 0;
}

// Values through the dropout's mask, in place.
void drop_values(const Dropout& drop, uint32_t number, int64_t length, float* values) {
  if (!drop.on) return;
  for (int64_t j = 0; j < length; j += 16)
    _mm512_storeu_ps(values + j, drop.apply(_mm512_loadu_ps(values + j), number + static_cast<uint32_t>(j)));
}

// sum over j of weights[j] rows[j], added to nothing, into `to`.
void weighted(const float* weights, const bf16* rows, int64_t stride, int64_t length, int64_t depth, bf16* to) {
  for (int64_t i = 0; i < depth; i += 16) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < length; ++j)
      sum = _mm512_fmadd_ps(_mm512_set1_ps(weights[j]), load(rows + j * stride + i), sum);
    store(to + i, sum);
  }
}

// Calls body(text, head, view, scratch of 3 floats a key) for all texts and heads.
template <class Body>
void each_text(const Tensor& qkv, const Tensor& offsets, int64_t heads, double scale, const Optional& bias,
               int64_t window, const Body& body) {
  const bf16* data = matrix(qkv, "qkv");
  const int64_t width = qkv.size(1) / 3, depth = width / heads, stride = qkv.stride(0);
  check_heads(qkv, heads);
  const Texts texts(offsets, qkv.size(0));
  const Biases biases(bias, heads, texts.longest);
  const int64_t tasks = static_cast<int64_t>(texts.order.size()) * heads;
  for (int64_t t = 0; t * heads < tasks; ++t) TORCH_CHECK(texts.length(t) > 0, "offsets: a text has no token");
  std::atomic<int64_t> next{0};
  on_threads(tasks, [&](int) {
    std::vector<float> room(3 * round_up(texts.longest, 16));
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      const int64_t s = task / heads, h = task % heads, begin = texts.offsets[s];
      const bf16* q = data + begin * stride + h * depth;
      const View view{q,     q + width, q + 2 * width, stride, depth, texts.length(s), static_cast<float>(scale),
                      biases.of(h, 0), window, static_cast<uint32_t>(begin * heads + h) << 13};
      body(s, h, view, room.data());
    }
  });
}

}  // namespace

// qkv (N, 3D): the contexts (B, D) of the B first tokens.
Tensor attention_first(const Tensor& qkv, const Tensor& offsets, int64_t heads, double scale, const Optional& bias,
                       int64_t window, double p, int64_t key0, int64_t key1) {
  const Dropout drop(p, key0, key1);
  const int64_t width = qkv.size(1) / 3;
  Tensor context = make(offsets.size(0) - 1, width);
  bf16* to = context.mutable_data_ptr<bf16>();
  each_text(qkv, offsets, heads, scale, bias, window, [&](int64_t s, int64_t h, const View& t, float* room) {
    probabilities(t, room);
    drop_values(drop, t.number, t.length, room);
    weighted(room, t.v, t.stride, t.length, t.depth, to + s * width + h * t.depth);
  });
  return context;
}

// dctx (B, D): the gradient (N, 3D) of qkv; queries other than the first have none.
Tensor attention_first_backward(const Tensor& dctx, const Tensor& qkv, const Tensor& offsets, int64_t heads,
                                double scale, const Optional& bias, int64_t window, double p, int64_t key0,
                                int64_t key1) {
  const Dropout drop(p, key0, key1);
  const int64_t width = qkv.size(1) / 3;
  const bf16* from = matrix(dctx, "dctx", offsets.size(0) - 1, width);
  Tensor dqkv = make(qkv.size(0), 3 * width);
  bf16* to = dqkv.mutable_data_ptr<bf16>();
  const int32_t* bounds = offsets.const_data_ptr<int32_t>();
  each_text(qkv, offsets, heads, scale, bias, window, [&](int64_t s, int64_t h, const View& t, float* room) {
    const int64_t padded = round_up(t.length, 16);
    float *prob = room, *dropped = room + padded, *slope = room + 2 * padded;
    const bf16* gradient = from + s * dctx.stride(0) + h * t.depth;
    probabilities(t, prob);
    std::memcpy(dropped, prob, padded * sizeof(float));
    drop_values(drop, t.number, t.length, dropped);
    for (int64_t j = 0; j < padded; ++j) slope[j] = j < t.length ? dot(gradient, t.v + j * t.stride, t.depth) : 0;
    drop_values(drop, t.number, t.length, slope);
    float mean = 0;
    for (int64_t j = 0; j < t.length; ++j) mean += prob[j] * slope[j];
    for (int64_t j = 0; j < t.length; ++j) slope[j] = prob[j] * (slope[j] - mean) * t.scale;
    bf16* first = to + bounds[s] * 3 * width + h * t.depth;
    weighted(slope, t.k, t.stride, t.length, t.depth, first);
    for (int64_t j = 0; j < t.length; ++j) {
      bf16* row = first + j * 3 * width;
      const __m512 by_key = _mm512_set1_ps(slope[j]), by_value = _mm512_set1_ps(dropped[j]);
      for (int64_t i = 0; i < t.depth; i += 16) {
        if (j > 0) store(row + i, _mm512_setzero_ps());
        store(row + width + i, _mm512_mul_ps(by_key, load(t.q + i)));
        store(row + 2 * width + i, _mm512_mul_ps(by_value, load(gradient + i)));
      }
    }
  });
  return dqkv;
}

}  // namespace loraloom
