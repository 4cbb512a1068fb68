// Matrix products in panels, and threads; bench/tiles.py writes what stands around them.
// Matrices of one product of all tiles lie in panels of sixteen channels: [products, channels / 16, rows, 16].
#include <pthread.h>
#include <string.h>
typedef float v8 __attribute__((vector_size(32), aligned(4)));
#define LOAD(p) (*(const v8 *)(p))
#define STORE(p) (*(v8 *)(p))
#define INLINE static inline __attribute__((always_inline))
#define TILES for (long b = 0, tile = 0; b < n; b++) for (long u = 0; u < h; u += 4) \
  for (long v = 0; v < w; v += 4, tile++)
#define AT(product) ((((product) * (c / 16) + k / 16) * rows + tile) * 16 + k % 16)

// c[m, 16] = a[m, 16 * depth] b[16 * depth, 16], where a lies in panels.
INLINE void block(const long m, const float *a, const float *b, float *c, long depth, long rows) {
  v8 o[6][2];
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) o[i][0] = o[i][1] = (v8){0};
  for (long d = 0; d < depth; d++, a += rows * 16, b += 256)
    for (long e = 0; e < 16; e++) {
      v8 left = LOAD(b + e * 16), right = LOAD(b + e * 16 + 8);
      #pragma GCC unroll 6
      for (long i = 0; i < m; i++) {
        o[i][0] += a[i * 16 + e] * left;
        o[i][1] += a[i * 16 + e] * right;
      }
    }
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) {
    STORE(c + i * 16) = o[i][0];
    STORE(c + i * 16 + 8) = o[i][1];
  }
}

// c = a b: panels [wide, rows, 16] of panels [depth, rows, 16] and [wide, 16 * depth, 16]; m of the rows.
static void multiply(const float *a, const float *b, float *c, long m, long depth, long wide, long rows) {
  for (long j = 0; j < wide; j++, b += depth * 256, c += rows * 16) {
    long i = 0;
    for (; i + 6 <= m; i += 6) block(6, a + i * 16, b, c + i * 16, depth, rows);
    switch (m - i) {
      case 5: block(5, a + i * 16, b, c + i * 16, depth, rows); break;
      case 4: block(4, a + i * 16, b, c + i * 16, depth, rows); break;
      case 3: block(3, a + i * 16, b, c + i * 16, depth, rows); break;
      case 2: block(2, a + i * 16, b, c + i * 16, depth, rows); break;
      case 1: block(1, a + i * 16, b, c + i * 16, depth, rows); break;
    }
  }
}

// c[m, 16] += a[rows, m]^T b[rows, 16]; the rows of a and b are 16 wide, those of c `wide`.
INLINE void outer_block(const long m, const float *a, const float *b, float *c, long rows, long wide) {
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
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) {
    STORE(c + i * wide) += o[i][0];
    STORE(c + i * wide + 8) += o[i][1];
  }
}

// c[16 * high, 16 * wide] += a^T b, of panels [high, rows, 16] and [wide, rows, 16]; m of the rows.
static void add_outer(const float *a, const float *b, float *c, long m, long high, long wide, long rows) {
  for (long d = 0; d < high; d++, a += rows * 16) for (long j = 0; j < wide; j++) {
    const float *right = b + j * rows * 16;
    float *to = c + d * 16 * wide * 16 + j * 16;
    outer_block(6, a, right, to, m, wide * 16);
    outer_block(6, a + 6, right, to + 6 * wide * 16, m, wide * 16);
    outer_block(4, a + 12, right, to + 12 * wide * 16, m, wide * 16);
  }
}

// What one thread does: some of the images. A gradient that is not wanted is null.
typedef struct job {
  const float *x, *filters, *dy;
  float *y, *dx, *dfilters, *work;
  long n, h, w, c, k, count;
  void (*run)(struct job *);
} job;

static void *start(void *it) {
  job *j = it;
  j->run(j);
  return 0;
}

static void run_all(job *jobs, long threads) {
  pthread_t made[threads];
  int own[threads];
  for (long t = 1; t < threads; t++) own[t] = pthread_create(made + t, 0, start, jobs + t);
  start(jobs);
  for (long t = 1; t < threads; t++) {
    if (own[t]) start(jobs + t);
    else pthread_join(made[t], 0);
  }
}
