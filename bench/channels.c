// Passes over images as rows of channels, [rows, c], c a multiple of eight: sums by channel, and what they are for.
// Sums are taken of few values in fp32 and of those in fp64, part by part, so that no bit depends on threads.
#include <math.h>
typedef float v8 __attribute__((vector_size(32), aligned(4)));
typedef int m8 __attribute__((vector_size(32), aligned(4)));
typedef unsigned char u8 __attribute__((vector_size(8), aligned(1)));
typedef double d8 __attribute__((vector_size(64), aligned(8)));
#define LOAD(p) (*(const v8 *)(p))
#define STORE(p) (*(v8 *)(p))
#define ADD(p, v) (*(d8 *)(p) += __builtin_convertvector(v, d8))
#define INLINE static inline __attribute__((always_inline))
// Rows whose sums stay in fp32, and rows that are looked at for a first guess of the mean.
enum { ROWS = 32, GUESSED = 16 };
// What is behind the affine map; a leaky ReLU has a slope.
enum { NOTHING, RELU, LEAKY };

INLINE v8 chosen(m8 mask, v8 yes, v8 no) { return (v8)((mask & (m8)yes) | (~mask & (m8)no)); }

// As torch has it where y is not a number.
INLINE v8 activated(const int kind, float slope, v8 y) {
  if (kind == RELU) return (v8)((m8)y & ~(y <= 0));
  return kind == LEAKY ? chosen(y > 0, y, y * slope) : y;
}
INLINE v8 slopes(const int kind, float slope, v8 y, v8 dy) {
  if (kind == RELU) return (v8)((m8)dy & ~(y <= 0));
  return kind == LEAKY ? chosen(y > 0, dy, dy * slope) : dy;
}

// What is known of a layer, [6, c] in fp32: its mean, the part of the mean that fp32 does not hold, 1 / deviation,
// then y = (x - mean) * scale + shift; the last row is working memory.
typedef struct {
  float *mean, *rest, *inverse, *scale, *shift, *guess;
} layer;

static layer layer_at(float *told, long c) {
  return (layer){told, told + c, told + 2 * c, told + 3 * c, told + 4 * c, told + 5 * c};
}

typedef struct job {
  const float *x, *added, *y, *dy;
  float *to, *kept;
  // Of a 3x3 pool of stride 2: which of a window's values is its largest.
  unsigned char *which;
  // Sums by part, [parts, 2, c].
  double *sums;
  long begin, end, rows, parts, c, h, w;
  float slope;
  layer l;
  void (*run)(struct job *);
} job;

static void *start(void *it) {
  job *j = it;
  j->run(j);
  return 0;
}

// Each thread some of the parts.
static void run_all(const job *all, void (*run)(job *), long threads) {
  if (threads > all->parts) threads = all->parts;
  job jobs[threads];
  for (long t = 0; t < threads; t++) {
    jobs[t] = *all;
    jobs[t].begin = all->parts * t / threads;
    jobs[t].end = all->parts * (t + 1) / threads;
    jobs[t].run = run;
  }
  run_jobs(start, jobs, sizeof *jobs, threads);
}

#define PART_ROWS(j, part) long first = (j)->rows * (part) / (j)->parts, last = (j)->rows * ((part) + 1) / (j)->parts
#define UNROLL _Pragma("GCC unroll 4") for (long i = 0; i < m; i++)

// The sums of x - guess and of its square.
INLINE void moments_block(const long m, const job *j, double *sums, long at, long rows, long k) {
  v8 s[4], q[4], guess[4];
  const float *x = j->x + at * j->c + k;
  UNROLL { s[i] = q[i] = (v8){0}; guess[i] = LOAD(j->l.guess + k + 8 * i); }
  for (long r = 0; r < rows; r++, x += j->c) UNROLL {
    v8 d = LOAD(x + 8 * i) - guess[i];
    s[i] += d;
    q[i] += d * d;
  }
  UNROLL { ADD(sums + k + 8 * i, s[i]); ADD(sums + j->c + k + 8 * i, q[i]); }
}

// Those of the gradient behind the activation and of its product with x - mean; the gradient is kept where that is
// asked for. The activation's argument is found anew from x unless y is there.
INLINE void slopes_block(const long m, const int kind, const int from_y, const job *j, double *sums, long at,
                         long rows, long k) {
  v8 s[4], q[4], mean[4];
  long offset = at * j->c + k;
  UNROLL { s[i] = q[i] = (v8){0}; mean[i] = LOAD(j->l.mean + k + 8 * i); }
  for (long r = 0; r < rows; r++, offset += j->c) UNROLL {
    v8 d = LOAD(j->x + offset + 8 * i) - mean[i], y = d;
    if (from_y) y = LOAD(j->y + offset + 8 * i);
    else if (kind) y = d * LOAD(j->l.scale + k + 8 * i) + LOAD(j->l.shift + k + 8 * i);
    v8 g = slopes(kind, j->slope, y, LOAD(j->dy + offset + 8 * i));
    if (from_y) STORE(j->kept + offset + 8 * i) = g;
    s[i] += g;
    q[i] += g * d;
  }
  UNROLL { ADD(sums + k + 8 * i, s[i]); ADD(sums + j->c + k + 8 * i, q[i]); }
}

#define SUMS(name, call) \
  static void name(job *j) { \
    for (long p = j->begin; p < j->end; p++) { \
      PART_ROWS(j, p); \
      double *sums = j->sums + p * 2 * j->c; \
      for (long k = 0; k < 2 * j->c; k++) sums[k] = 0; \
      for (long at = first; at < last; at += ROWS) { \
        long rows = last - at < ROWS ? last - at : ROWS, k = 0; \
        for (long m = 4; k + 32 <= j->c; k += 32) { call(4) } \
        for (long m = 1; k < j->c; k += 8) { call(1) } \
      } \
    } \
  }
#define MOMENTS(m_) (void)m; moments_block(m_, j, sums, at, rows, k);
#define SLOPES(m_, kind, from_y) (void)m; slopes_block(m_, kind, from_y, j, sums, at, rows, k);
#define NOTHING_X(m_) SLOPES(m_, NOTHING, 0)
#define RELU_X(m_) SLOPES(m_, RELU, 0)
#define LEAKY_X(m_) SLOPES(m_, LEAKY, 0)
#define RELU_Y(m_) SLOPES(m_, RELU, 1)
#define LEAKY_Y(m_) SLOPES(m_, LEAKY, 1)
SUMS(sum_moments, MOMENTS)
SUMS(sum_nothing, NOTHING_X)
SUMS(sum_relu, RELU_X)
SUMS(sum_leaky, LEAKY_X)
SUMS(sum_relu_y, RELU_Y)
SUMS(sum_leaky_y, LEAKY_Y)

INLINE void map_some(const int kind, const int added, job *j) {
  PART_ROWS(j, j->begin);
  (void)last;
  long end = j->rows * j->end / j->parts;
  for (long r = first; r < end; r++) for (long k = 0; k < j->c; k += 8) {
    long at = r * j->c + k;
    v8 y = (LOAD(j->x + at) - LOAD(j->l.mean + k)) * LOAD(j->l.scale + k) + LOAD(j->l.shift + k);
    if (added) y += LOAD(j->added + at);
    STORE(j->to + at) = activated(kind, j->slope, y);
  }
}

// dx = scale * gradient - offset - (x - mean) * slope, offset and slope those of `slopes_of`.
INLINE void return_some(const int kind, job *j) {
  PART_ROWS(j, j->begin);
  (void)last;
  long end = j->rows * j->end / j->parts;
  const float *offset = j->l.guess, *slope = j->kept;
  for (long r = first; r < end; r++) for (long k = 0; k < j->c; k += 8) {
    long at = r * j->c + k;
    v8 d = LOAD(j->x + at) - LOAD(j->l.mean + k), scale = LOAD(j->l.scale + k), y = d;
    if (kind) y = d * scale + LOAD(j->l.shift + k);
    v8 g = slopes(kind, j->slope, y, LOAD(j->dy + at));
    STORE(j->to + at) = scale * g - (d * LOAD(slope + k) + LOAD(offset + k));
  }
}

#define PASS(name, call) static void name(job *j) { call; }
PASS(map_nothing, map_some(NOTHING, 0, j))
PASS(map_relu, map_some(RELU, 0, j))
PASS(map_leaky, map_some(LEAKY, 0, j))
PASS(add_nothing, map_some(NOTHING, 1, j))
PASS(add_relu, map_some(RELU, 1, j))
PASS(add_leaky, map_some(LEAKY, 1, j))
PASS(return_nothing, return_some(NOTHING, j))
PASS(return_relu, return_some(RELU, j))
PASS(return_leaky, return_some(LEAKY, j))

// Parts of so many rows: how many there are depends on the images alone.
long parts_of(long rows) {
  long parts = rows / (2 * ROWS);
  return parts < 1 ? 1 : parts > 32 ? 32 : parts;
}

static void add_parts(double *sums, long parts, long c) {
  for (long p = 1; p < parts; p++) for (long k = 0; k < 2 * c; k++) sums[k] += sums[p * 2 * c + k];
}

// What `normalise` is told of a layer; see there.
static void know(const float *x, const float *weight, const float *bias, float *running_mean, float *running_var,
                 long *batches, float *told, double *sums, double momentum, double eps, long rows, long c,
                 long threads) {
  layer l = layer_at(told, c);
  if (batches) ++*batches;
  if (sums) {
    job all = {.x = x, .sums = sums, .rows = rows, .parts = parts_of(rows), .c = c, .l = l};
    for (long k = 0; k < c; k++) {
      double sum = 0;
      for (long g = 0; g < GUESSED; g++) sum += x[(rows - 1) * g / (GUESSED - 1) * c + k];
      l.guess[k] = sum / GUESSED;
    }
    run_all(&all, sum_moments, threads);
    add_parts(sums, all.parts, c);
  }
  for (long k = 0; k < c; k++) {
    double mean, var;
    if (sums) {
      double from_guess = sums[k] / rows;
      mean = l.guess[k] + from_guess;
      var = sums[c + k] / rows - from_guess * from_guess;
      if (var < 0) var = 0;
      if (running_mean) running_mean[k] = momentum * mean + (1 - momentum) * running_mean[k];
      if (running_var) running_var[k] = momentum * (var * rows / (rows - 1)) + (1 - momentum) * running_var[k];
    } else {
      mean = running_mean[k];
      var = running_var[k];
    }
    double inverse = 1 / sqrt(var + eps), scale = weight ? weight[k] * inverse : inverse;
    l.mean[k] = mean;
    l.rest[k] = mean - l.mean[k];
    l.inverse[k] = inverse;
    l.scale[k] = scale;
    l.shift[k] = (bias ? bias[k] : 0) - l.rest[k] * scale;
  }
}

// y = act(norm(x) + added); `added`, weight, bias, running statistics and the number of batches may be null. Without
// `sums` the running statistics are those of the layer, and stay.
void normalise(const float *x, const float *added, float *y, const float *weight, const float *bias,
               float *running_mean, float *running_var, long *batches, float *told, double *sums, double momentum,
               double eps, double slope, int kind, long rows, long c, long threads) {
  know(x, weight, bias, running_mean, running_var, batches, told, sums, momentum, eps, rows, c, threads);
  job all = {.x = x, .added = added, .to = y, .rows = rows, .parts = parts_of(rows), .c = c, .slope = slope,
             .l = layer_at(told, c)};
  static void (*const passes[2][3])(job *) = {{map_nothing, map_relu, map_leaky}, {add_nothing, add_relu, add_leaky}};
  run_all(&all, passes[added != 0][kind], threads);
}

// The gradients of weight and bias, and what dx is made of: `count` is of values a channel of the norm's input, of
// which those not in x have a gradient of zero.
static void sums_back(job *all, float *dweight, float *dbias, float *slopes_by_x, int kind, long count,
                      long threads) {
  static void (*const passes[2][3])(job *) = {{sum_nothing, sum_relu, sum_leaky},
                                              {sum_nothing, sum_relu_y, sum_leaky_y}};
  layer l = all->l;
  run_all(all, passes[all->y != 0][kind], threads);
  add_parts(all->sums, all->parts, all->c);
  for (long k = 0; k < all->c; k++) {
    double sum = all->sums[k], product = (all->sums[all->c + k] - l.rest[k] * sum) * l.inverse[k];
    dbias[k] = sum;
    dweight[k] = product;
    slopes_by_x[k] = (double)l.scale[k] * l.inverse[k] * product / count;
    l.guess[k] = l.scale[k] * sum / count - (double)l.rest[k] * slopes_by_x[k];
  }
}

// Gradients by x, weight and bias; with y also `dadded`, that of what was added, of which dx is then made. dx may be
// null.
void normalise_back(const float *x, const float *y, const float *dy, float *dx, float *dadded, float *dweight,
                    float *dbias, float *told, double *sums, double slope, int kind, long rows, long c,
                    long threads) {
  layer l = layer_at(told, c);
  job all = {.x = x, .y = y, .dy = dy, .kept = dadded, .sums = sums, .rows = rows, .parts = parts_of(rows), .c = c,
             .slope = slope, .l = l};
  float slopes_by_x[c];
  sums_back(&all, dweight, dbias, slopes_by_x, kind, rows, threads);
  if (!dx) return;
  static void (*const returns[3])(job *) = {return_nothing, return_relu, return_leaky};
  if (y) all.dy = dadded;
  all.to = dx;
  all.kept = slopes_by_x;
  run_all(&all, returns[y ? NOTHING : kind], threads);
}
