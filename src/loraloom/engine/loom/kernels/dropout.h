// How often a dropout drops, and the keys of its masks: for kernels of any type.
#pragma once

#include <c10/util/Exception.h>

#include <cmath>
#include <cstdint>

namespace loraloom {

struct DropoutKeys {
  bool on;
  uint32_t key0, key1, threshold;
  float scale;

  DropoutKeys(double p, int64_t first_key, int64_t second_key)
      : on(p > 0), key0(static_cast<uint32_t>(first_key)), key1(static_cast<uint32_t>(second_key)) {
    TORCH_CHECK(p >= 0 && p < 1, "p: ", p, " is not a dropout probability; it must be at least 0 and below 1");
    threshold = static_cast<uint32_t>(std::llround(p * 4294967296.0));
    scale = static_cast<float>(1.0 / (1.0 - p));
  }
};

}  // namespace loraloom
