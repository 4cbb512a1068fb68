// Convolutions as the products they are, and their gradients; stands behind panels.c, whose vectors it uses.
// An image [n, h, w, c] and pixels [n, oh, ow, k]: the pixel at (y, x) sees t x t places of the image from
// (y * s - p, x * s - p) on. In a padded image a row of them is t * c floats one behind another, which are multiplied
// where they are. k is a multiple of sixteen.
typedef struct shape {
  long h, w, c, oh, ow, k, t, s, p, count;
} shape;

typedef struct strip {
  const float *image, *pixels, *filters;
  float *out, *work;
  long n;
  shape at;
  void (*run)(struct strip *);
} strip;

#define SIX switch (m) { \
  case 6: BLOCK(6); break; case 5: BLOCK(5); break; case 4: BLOCK(4); break; \
  case 3: BLOCK(3); break; case 2: BLOCK(2); break; case 1: BLOCK(1); break; }

// c[m, 16] = sum over `high` rows of a[m, deep] b[deep, 16]; added to c where `more`. Rows of a begin at `at`.
INLINE void seen_block(const long m, const float *a, const int *at, long high, long deep, long step, const float *b,
                       float *c, long wide, long more) {
  v8 o[6][2];
  const float *from[6];
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) {
    from[i] = a + at[i];
    o[i][0] = o[i][1] = (v8){0};
  }
  if (more) {
    #pragma GCC unroll 6
    for (long i = 0; i < m; i++) {
      o[i][0] = LOAD(c + i * wide);
      o[i][1] = LOAD(c + i * wide + 8);
    }
  }
  for (long r = 0, at = 0; r < high; r++, at += step)
    for (long e = at; e < at + deep; e++, b += 16) {
      v8 left = LOAD(b), right = LOAD(b + 8);
      #pragma GCC unroll 6
      for (long i = 0; i < m; i++) {
        o[i][0] += from[i][e] * left;
        o[i][1] += from[i][e] * right;
      }
    }
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) {
    STORE(c + i * wide) = o[i][0];
    STORE(c + i * wide + 8) = o[i][1];
  }
}

static void see(long m, const float *a, const int *at, long high, long deep, long step, const float *b, float *c,
                long wide, long more) {
  #define BLOCK(m) seen_block(m, a, at, high, deep, step, b, c, wide, more)
  SIX
  #undef BLOCK
}

// c[m, 16] += sum over rows of a[m] b[16].
INLINE void told_block(const long m, const float *a, const int *at, const float *b, float *c, long rows, long wide) {
  v8 o[6][2];
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) o[i][0] = o[i][1] = (v8){0};
  for (long t = 0; t < rows; t++) {
    v8 left = LOAD(b + t * 16), right = LOAD(b + t * 16 + 8);
    const float *from = a + at[t];
    #pragma GCC unroll 6
    for (long i = 0; i < m; i++) {
      o[i][0] += from[i] * left;
      o[i][1] += from[i] * right;
    }
  }
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) {
    STORE(c + i * wide) += o[i][0];
    STORE(c + i * wide + 8) += o[i][1];
  }
}

static void tell(long m, const float *a, const int *at, const float *b, float *c, long rows, long wide) {
  #define BLOCK(m) told_block(m, a, at, b, c, rows, wide)
  SIX
  #undef BLOCK
}

#define WIDE(s) (((s)->w + 2 * (s)->p) * (s)->c)
#define WHOLE(s) (((s)->h + 2 * (s)->p) * WIDE(s))
#define ROUND(n) (((n) + 15) / 16 * 16)

static long min(long a, long b) { return a < b ? a : b; }

// Images with their borders; the borders are zero already.
static void pad(const shape *s, const float *image, float *padded, long n) {
  for (long b = 0; b < n; b++) for (long y = 0; y < s->h; y++)
    memcpy(padded + b * WHOLE(s) + (y + s->p) * WIDE(s) + s->p * s->c, image + (b * s->h + y) * s->w * s->c,
           s->w * s->c * sizeof *image);
}

// Where the pixels' first taps are in padded images.
static void find(const shape *s, int *at) {
  for (long b = 0; b < s->count; b++) for (long y = 0; y < s->oh; y++) for (long x = 0; x < s->ow; x++)
    *at++ = b * WHOLE(s) + y * s->s * WIDE(s) + x * s->s * s->c;
}

// Image to pixels, through filters [k / 16, t * t * c, 16].
static void convolve_some(strip *j) {
  const shape *s = &j->at;
  long all = s->oh * s->ow, deep = s->t * s->c, high = deep * s->t > 256 ? 1 : s->t;
  float *padded = j->work;
  int *at = (int *)(padded + s->count * WHOLE(s));
  find(s, at);
  memset(padded, 0, s->count * WHOLE(s) * sizeof *padded);
  for (long b = 0; b < j->n; b += s->count) {
    long n = min(j->n - b, s->count);
    pad(s, j->image + b * s->h * s->w * s->c, padded, n);
    for (long k = 0; k < s->k; k += 16) for (long r = 0; r < s->t; r += high)
      for (long i = 0; i < n * all; i += 6)
        see(min(6, n * all - i), padded + r * WIDE(s), at + i, high, deep, WIDE(s),
            j->filters + k * s->t * deep + r * deep * 16, j->out + (b * all + i) * s->k + k, s->k, r > 0);
  }
}

// Pixels to image, through filters [t * t * c / 16, k, 16], the last of them filled up with zeros.
static void spread_some(strip *j) {
  const shape *s = &j->at;
  long all = s->oh * s->ow, deep = s->t * s->c, wide = ROUND(s->t * deep), apart = (s->t + s->s - 1) / s->s;
  float *padded = j->work, *m = padded + s->count * WHOLE(s);
  int at[6];
  for (long i = 0; i < 6; i++) at[i] = i * s->k;
  for (long b = 0; b < j->n; b += s->count) {
    long n = min(j->n - b, s->count);
    const float *from = j->pixels + b * all * s->k;
    float *to = j->out + b * s->h * s->w * s->c;
    // Of one tap and no stride the products are the image.
    long straight = s->t == 1 && s->s == 1 && s->p == 0 && wide == s->c;
    for (long d = 0; d < wide; d += 16) for (long i = 0; i < n * all; i += 6)
      see(min(6, n * all - i), from + i * s->k, at, 1, s->k, 0, j->filters + d * s->k,
          (straight ? to : m) + i * wide + d, wide, 0);
    if (straight) continue;
    memset(padded, 0, n * WHOLE(s) * sizeof *padded);
    for (long i = 0; i < n; i++) for (long y = 0; y < s->oh; y++) for (long r = 0; r < s->t; r++)
      // Neighbours have taps in common: they take turns, so that none waits for what was just written.
      for (long q = 0; q < apart; q++) for (long x = q; x < s->ow; x += apart) {
        const float *one = m + ((i * s->oh + y) * s->ow + x) * wide + r * deep;
        float *sum = padded + i * WHOLE(s) + (y * s->s + r) * WIDE(s) + x * s->s * s->c;
        long e = 0;
        for (; e + 8 <= deep; e += 8) STORE(sum + e) += LOAD(one + e);
        for (; e < deep; e++) sum[e] += one[e];
      }
    for (long i = 0; i < n; i++) for (long y = 0; y < s->h; y++)
      memcpy(to + (i * s->h + y) * s->w * s->c, padded + i * WHOLE(s) + (y + s->p) * WIDE(s) + s->p * s->c,
             s->w * s->c * sizeof *to);
  }
}

#define CHUNK 96
// The filters' gradient [t * t * c, k], of both.
static void correlate_some(strip *j) {
  const shape *s = &j->at;
  long all = s->oh * s->ow, deep = s->t * s->c, parts = (deep + 5) / 6;
  float *padded = j->work, *panels = padded + s->count * WHOLE(s);
  int *at = (int *)(panels + s->count * all * s->k);
  find(s, at);
  memset(padded, 0, s->count * WHOLE(s) * sizeof *padded);
  memset(j->out, 0, s->t * deep * s->k * sizeof *j->out);
  for (long b = 0; b < j->n; b += s->count) {
    long n = min(j->n - b, s->count), rows = n * all;
    pad(s, j->image + b * s->h * s->w * s->c, padded, n);
    const float *from = j->pixels + b * all * s->k;
    for (long i = 0; i < rows; i++) for (long k = 0; k < s->k; k += 16) {
      STORE(panels + k * rows + i * 16) = LOAD(from + i * s->k + k);
      STORE(panels + k * rows + i * 16 + 8) = LOAD(from + i * s->k + k + 8);
    }
    for (long i = 0; i < rows; i += CHUNK) for (long r = 0; r < s->t; r++) for (long q = 0; q < parts; q++) {
      long e = deep * q / parts, m = deep * (q + 1) / parts - e;
      for (long k = 0; k < s->k; k += 16)
        tell(m, padded + r * WIDE(s) + e, at + i, panels + k * rows + i * 16, j->out + (r * deep + e) * s->k + k,
             min(CHUNK, rows - i), s->k);
    }
  }
}

// Floats of memory that one thread wants, for whichever.
long work_direct(const shape *s) {
  long all = s->oh * s->ow, wide = ROUND(s->t * s->t * s->c);
  return s->count * (WHOLE(s) + all * ((wide > s->k ? wide : s->k) + 1)) + 16;
}

static void *start_strip(void *it) {
  strip *j = it;
  j->run(j);
  return 0;
}

static void run_shape(void (*run)(strip *), const float *image, const float *pixels, const float *filters, float *out,
                      long size, float *work, long n, const shape *s, long threads) {
  strip jobs[threads];
  long begin = 0, seen = s->h * s->w * s->c, told = s->oh * s->ow * s->k;
  for (long t = 0; t < threads; t++) {
    long end = n * (t + 1) / threads;
    jobs[t] = (strip){image ? image + begin * seen : 0, pixels ? pixels + begin * told : 0, filters,
                      out + (size ? begin * size : t * s->t * s->t * s->c * s->k), work + t * work_direct(s),
                      end - begin, *s, run};
    begin = end;
  }
  run_jobs(start_strip, jobs, sizeof *jobs, threads);
}

void convolve_direct(const float *image, const float *filters, float *pixels, float *work, long n, const shape *s,
                      long threads) {
  run_shape(convolve_some, image, 0, filters, pixels, s->oh * s->ow * s->k, work, n, s, threads);
}
void spread_direct(const float *pixels, const float *filters, float *image, float *work, long n, const shape *s,
                    long threads) {
  run_shape(spread_some, 0, pixels, filters, image, s->h * s->w * s->c, work, n, s, threads);
}
// To a gradient of each thread, [threads, t * t * c, k].
void correlate_direct(const float *image, const float *pixels, float *grads, float *work, long n, const shape *s,
                       long threads) {
  run_shape(correlate_some, image, pixels, 0, grads, 0, work, n, s, threads);
}
