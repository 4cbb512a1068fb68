// The three products of a dense layer with a batch; stands behind panels.c and direct.c. A batch [n, d] lies in panels
// of sixteen columns, [d / 16, n, 16]; weights as torch has them. All sizes but n are multiples of sixteen.

// So much of sixteen columns of a weight takes half of the nearest cache.
#define DEEP 256
// Columns that are laid at once: four lines that follow one another in a row.
#define STRIP 64
// Rows of a batch whose part of a gradient is summed at once.
#define ROWS 128

// n rows of a batch; [deep, wide] is a weight, or its transposed one, or its gradient. A thread's columns of it.
typedef struct dense {
  const float *a, *b;
  const int *keep;
  float *out, *work;
  long n, deep, wide, down, right, begin, end;
} dense;

// Into panels, what is kept of it: all bits or none of each.
void pack_dense(const float *from, const int *keep, float *to, long n, long d) {
  for (long i = 0; i < n; i++) for (long k = 0; k < d; k += 16) for (long e = 0; e < 16; e += 8) {
    v8 x = LOAD(from + i * d + k + e);
    if (keep) x = (v8)((m8)x & *(const m8 *)(keep + i * d + k + e));
    STORE(to + k * n + i * 16 + e) = x;
  }
}

static void dense_block(long m, const float *a, const float *b, float *c, long wide, long depth, long n, long add) {
  #define BLOCK(m) block(m, a, b, c, wide, depth, n, add, b)
  SIX
  #undef BLOCK
}

// Columns [deep, cols], of which rows or columns are one after another, sixteen at a time. In the order of memory.
static void lay_strip(const float *from, float *to, long deep, long cols, long down, long right) {
  if (right == 1) {
    for (long q = 0; q < deep; q++, from += down, to += 16) for (long s = 0; s < cols; s += 16) {
      STORE(to + s * DEEP) = LOAD(from + s);
      STORE(to + s * DEEP + 8) = LOAD(from + s + 8);
    }
  } else for (long s = 0; s < cols; s += 16) for (long q = 0; q < deep; q += 8) {
    turn(from + q + s * right, right, to + s * DEEP + q * 16, 16);
    turn(from + q + (s + 8) * right, right, to + s * DEEP + q * 16 + 8, 16);
  }
}

// out [n, wide] = a b, of a in panels, b [deep, wide] by its strides.
static void *dense_columns(void *it) {
  const dense *j = it;
  for (long k = j->begin; k < j->end; k += STRIP) {
    const long cols = min(STRIP, j->end - k);
    for (long d = 0; d < j->deep; d += DEEP) {
      const long some = min(DEEP, j->deep - d);
      lay_strip(j->b + d * j->down + k * j->right, j->work, some, cols, j->down, j->right);
      for (long s = 0; s < cols; s += 16) for (long i = 0; i < j->n; i += 6)
        dense_block(min(6, j->n - i), j->a + d * j->n + i * 16, j->work + s * DEEP, j->out + i * j->wide + k + s,
                    j->wide, some / 16, j->n, d > 0);
    }
    if (j->keep) for (long i = 0; i < j->n; i++) for (long e = i * j->wide + k; e < i * j->wide + k + cols; e += 8)
      STORE(j->out + e) = (v8)(*(const m8 *)(j->out + e) & *(const m8 *)(j->keep + e));
  }
  return 0;
}

// out [deep, wide] = a^T b, both in panels.
static void *dense_outer(void *it) {
  const dense *j = it;
  for (long k = j->begin; k < j->end; k += 16) for (long t = 0; t < j->n; t += ROWS) {
    const long rows = min(ROWS, j->n - t), wide = j->wide;
    const float *b = j->b + k * j->n + t * 16;
    for (long i = 0; i < j->deep; i += 16) {
      const float *a = j->a + i * j->n + t * 16;
      float *c = j->out + i * wide + k;
      for (long q = 0; q < 16; q++) __builtin_prefetch(c + q * wide, 1, 3);
      outer_block(6, a, b, c, wide, rows, t > 0);
      outer_block(5, a + 6, b, c + 6 * wide, wide, rows, t > 0);
      outer_block(5, a + 11, b, c + 11 * wide, wide, rows, t > 0);
    }
  }
  return 0;
}

// Each thread takes its columns, in sixteens, and has memory of its own where any is wanted.
static void share_columns(void *(*run)(void *), dense j, long threads) {
  dense jobs[threads];
  for (long t = 0; t < threads; t++) {
    jobs[t] = j;
    jobs[t].work = j.work ? j.work + t * STRIP * DEEP : 0;
    jobs[t].begin = j.wide / 16 * t / threads * 16;
    jobs[t].end = j.wide / 16 * (t + 1) / threads * 16;
  }
  run_jobs(run, jobs, sizeof *jobs, threads);
}

// Floats of memory that so many threads want.
long work_dense(long threads) { return threads * STRIP * DEEP; }

// [n, wide] = [n, deep] in panels times [deep, wide], whose rows are `down` apart and columns `right`; what is kept of it.
void multiply_dense(const float *a, const float *b, const int *keep, float *out, float *work, long n, long deep,
                    long wide, long down, long right, long threads) {
  share_columns(dense_columns, (dense){a, b, keep, out, work, n, deep, wide, down, right}, threads);
}

// [deep, wide] = [n, deep]^T [n, wide], both in panels.
void outer_dense(const float *a, const float *b, float *out, long n, long deep, long wide, long threads) {
  share_columns(dense_outer, (dense){a, b, 0, out, 0, n, deep, wide}, threads);
}
