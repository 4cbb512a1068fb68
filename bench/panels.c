// Matrix products in panels, and how threads share them; bench/tiles.py writes what stands around them.
// Matrices of one product of all tiles lie in panels of sixteen channels: [products, channels / 16, rows, 16].
#include <string.h>
typedef float v8 __attribute__((vector_size(32), aligned(4)));
typedef int m8 __attribute__((vector_size(32), aligned(4)));
#define LOAD(p) (*(const v8 *)(p))
#define STORE(p) (*(v8 *)(p))
#define INLINE static inline __attribute__((always_inline))
#define TILES for (long b = 0, tile = 0; b < n; b++) for (long u = 0; u < h; u += 4) \
  for (long v = 0; v < w; v += 4, tile++)
#define PANEL(k) (((k) / 16 * rows + tile) * 16 + (k) % 16)
// Lines that no hardware foresees: the next one of each product's, and the next image's.
#define AHEAD(high, wide, side, write) if (!(k & 8)) { \
    const float *next = o + (k + 16 < c ? rows * 16 : 16 - (c / 16 - 1) * rows * 16); \
    for (long q = 0; q < high; q++) for (long r = 0; r < wide; r++) \
      __builtin_prefetch(next + (q * side + r) * plane, write); \
  }
#define NEXT(image, write) if (!(k & 8)) \
    for (long q = 0; q < 16; q++) __builtin_prefetch((image) + (tile * c + k + q) * 16, write);
#define COMING(image) NEXT(image, 0)
#define GOING(image) NEXT(image, 1)

// A product of panels: at a point of each tile, with a part of the large image (the first of those that are joined), by
// the filter of a point; see bench/tile_forms.py. Below, where its matrices are.
typedef struct run {
  long point, part, filter;
} run;
#define RUNS(name) for (const run *r = runs_##name; r < runs_##name + sizeof runs_##name / sizeof *runs_##name; r++)
#define LOW(r) (v + (r)->point * low)
#define HIGH(r) (m + (r)->point * high + (r)->part * k * rows)
#define BOTH(r) ((r)->filter * both + (r)->part * c * k)

// How far matrices of two products are apart: not by a multiple of a page, whose lines would share a cache's places.
static long apart(long floats) { return floats + (1040 - floats % 1024) % 1024; }

// c[m, 16] = a[m, 16 * depth] b[16 * depth, 16], where a lies in panels and rows of c are `wide` apart; or is added to
// it. As much as b is fetched from `ahead` on.
INLINE void block(const long m, const float *a, const float *b, float *c, const long wide, long depth, long rows,
                  long add, const float *ahead) {
  v8 o[6][2];
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) o[i][0] = o[i][1] = (v8){0};
  for (long d = 0; d < depth; d++, a += rows * 16, b += 256, ahead += 256)
    for (long e = 0; e < 16; e++) {
      __builtin_prefetch(ahead + e * 16, 0, 2);
      v8 left = LOAD(b + e * 16), right = LOAD(b + e * 16 + 8);
      #pragma GCC unroll 6
      for (long i = 0; i < m; i++) {
        o[i][0] += a[i * 16 + e] * left;
        o[i][1] += a[i * 16 + e] * right;
      }
    }
  if (add)
    #pragma GCC unroll 6
    for (long i = 0; i < m; i++) {
      o[i][0] += LOAD(c + i * wide);
      o[i][1] += LOAD(c + i * wide + 8);
    }
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) {
    STORE(c + i * wide) = o[i][0];
    STORE(c + i * wide + 8) = o[i][1];
  }
}

// c = a b: panels [wide, rows, 16] of panels [depth, rows, 16] and [wide, 16 * depth, 16]; m of the rows. Or adds.
static void multiply(const float *a, const float *b, float *c, long m, long depth, long wide, long rows, long more) {
  for (long j = 0; j < wide; j++, c += rows * 16)
    // So much of b stays in the nearest cache.
    for (long d = 0; d < depth; d += 16) {
      long some = depth - d < 16 ? depth - d : 16, i = 0, add = more || d;
      const float *from = a + d * rows * 16;
      // What comes next is far away: it is fetched while the second six rows are multiplied.
      for (; m - i >= 6; i += 6) block(6, from + i * 16, b, c + i * 16, 16, some, rows, add,
                                    i == 6 ? b + some * 256 : b);
      switch (m - i) {
        case 5: block(5, from + i * 16, b, c + i * 16, 16, some, rows, add, b); break;
        case 4: block(4, from + i * 16, b, c + i * 16, 16, some, rows, add, b); break;
        case 3: block(3, from + i * 16, b, c + i * 16, 16, some, rows, add, b); break;
        case 2: block(2, from + i * 16, b, c + i * 16, 16, some, rows, add, b); break;
        case 1: block(1, from + i * 16, b, c + i * 16, 16, some, rows, add, b); break;
      }
      b += some * 256;
    }
}

// c[m, 16] = a[rows, m]^T b[rows, 16], of rows of 16, of c `wide` apart; or is added to it.
INLINE void outer_block(const long m, const float *a, const float *b, float *c, const long wide, long rows, long add) {
  v8 o[6][2];
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) o[i][0] = o[i][1] = (v8){0};
  for (long t = 0; t < rows; t++) {
    v8 left = LOAD(b + t * 16), right = LOAD(b + t * 16 + 8);
    #pragma GCC unroll 6
    for (long i = 0; i < m; i++) {
      o[i][0] += a[t * 16 + i] * left;
      o[i][1] += a[t * 16 + i] * right;
    }
  }
  if (add)
    #pragma GCC unroll 6
    for (long i = 0; i < m; i++) {
      o[i][0] += LOAD(c + i * wide);
      o[i][1] += LOAD(c + i * wide + 8);
    }
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) {
    STORE(c + i * wide) = o[i][0];
    STORE(c + i * wide + 8) = o[i][1];
  }
}

// c = a^T b, blocks [high, wide, 16, 16] of panels [high, rows, 16] and [wide, rows, 16]; m of the rows. Or adds.
static void outer(const float *a, const float *b, float *c, long m, long high, long wide, long rows, long add) {
  for (long d = 0; d < high; d++, a += rows * 16) for (long j = 0; j < wide; j++, c += 256) {
    const float *right = b + j * rows * 16;
    outer_block(6, a, right, c, 16, m, add);
    outer_block(5, a + 6, right, c + 6 * 16, 16, m, add);
    outer_block(5, a + 11, right, c + 11 * 16, 16, m, add);
  }
}

#if defined __clang__ || __GNUC__ >= 12
#define MIXED(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MIXED(a, b, ...) __builtin_shuffle(a, b, (int __attribute__((vector_size(32)))){__VA_ARGS__})
#endif

// Eight rows of eight, by their strides, to their columns.
INLINE void turn(const float *from, long apart, float *to, long wide) {
  v8 r[8], t[8], u[8];
  #pragma GCC unroll 8
  for (long i = 0; i < 8; i++) r[i] = LOAD(from + i * apart);
  #pragma GCC unroll 4
  for (long i = 0; i < 8; i += 2) {
    t[i] = MIXED(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[i + 1] = MIXED(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  #pragma GCC unroll 2
  for (long i = 0; i < 8; i += 4)
    #pragma GCC unroll 2
    for (long k = 0; k < 2; k++) {
      u[i + 2 * k] = MIXED(t[i + k], t[i + k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      u[i + 2 * k + 1] = MIXED(t[i + k], t[i + k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  #pragma GCC unroll 4
  for (long i = 0; i < 4; i++) {
    STORE(to + i * wide) = MIXED(u[i], u[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    STORE(to + (i + 4) * wide) = MIXED(u[i], u[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

// 16 rows of 16 lanes from their strides to others, of which one of each is 1 but for filters as torch has them.
INLINE void lay(const float *from, long row, long lane, float *to, long to_row, long to_lane) {
  if (lane == 1 && to_lane == 1) {
    for (long i = 0; i < 16; i++) for (long m = 0; m < 16; m += 8)
      STORE(to + i * to_row + m) = LOAD(from + i * row + m);
  } else if (lane == 1 && to_row == 1) {
    for (long i = 0; i < 16; i += 8) for (long m = 0; m < 16; m += 8)
      turn(from + i * row + m, row, to + i + m * to_lane, to_lane);
  } else if (row == 1 && to_lane == 1) {
    for (long i = 0; i < 16; i += 8) for (long m = 0; m < 16; m += 8)
      turn(from + i + m * lane, lane, to + i * to_row + m, to_row);
  } else for (long i = 0; i < 16; i++) for (long m = 0; m < 16; m++)
    to[i * to_row + m * to_lane] = from[i * row + m * lane];
}

// Filters of 16 by 16 channels to [side, side, 16 rows, 16 lanes], by their strides, and back.
static void read_taps(float *to, const float *g, long side, long down, long right, long row, long lane) {
  for (long y = 0; y < side; y++) for (long x = 0; x < side; x++, to += 256)
    lay(g + y * down + x * right, row, lane, to, 16, 1);
}
static void write_taps(float *g, const float *from, long side, long down, long right, long row, long lane) {
  for (long y = 0; y < side; y++) for (long x = 0; x < side; x++, from += 256)
    lay(from, 16, 1, g + y * down + x * right, row, lane);
}

// Blocks of high by wide products, each of them the sum over threads, whose own are `side` * `side` planes apart.
static void add_threads(const float *from, float *sum, long high, long wide, long side, long plane, long threads) {
  for (long i = 0; i < high; i++) for (long j = 0; j < wide; j++) {
    const long q = i * side + j;
    for (long e = 0; e < 256; e++) {
      float all = from[q * plane + e];
      for (long t = 1; t < threads; t++) all += from[(t * side * side + q) * plane + e];
      sum[q * 256 + e] = all;
    }
  }
}

// What follows a convolution where nothing is differentiated: a bias by channel, an image that is added, a ReLU.
typedef struct {
  const float *bias, *added;
  long relu;
} after;

// In that order; torch's ReLU keeps what is not a number.
INLINE v8 follow(v8 y, v8 bias, const float *added, long place, long relu) {
  y += bias;
  if (added) y += LOAD(added + place);
  return relu ? (v8)((m8)y & ~(y <= 0)) : y;
}

// A convolution's small image [n, h, w, c] and large one, of k channels; what is not wanted is null. Of a weight the
// strides are those of small channels, large channels, rows and columns.
typedef struct job {
  const float *small, *large;
  float *to_small, *to_large;
  const float *weight;
  float *dweight;
  const long *strides;
  float *filters, *products, *work;
  long n, h, w, c, k, count, threads, thread;
  after after;
} job;

typedef struct {
  void (*run)(const job *);
  job job;
} start;

static void *begin(void *it) {
  start *s = it;
  s->run(&s->job);
  return 0;
}

// Each thread takes its share.
static void on_all(void (*run)(const job *), const job *j) {
  start starts[j->threads];
  for (long t = 0; t < j->threads; t++) {
    starts[t] = (start){run, *j};
    starts[t].job.thread = t;
  }
  run_jobs(begin, starts, sizeof *starts, j->threads);
}
