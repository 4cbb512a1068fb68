// Convolutions of stride 2 of images of few channels, by pairs of rows and columns; stands behind panels.c, whose
// vectors and products it uses, and before what bench/few_tiles.py writes.
// An image of few channels [n, h, w, c] and pixels [n, h / 2, w / 2, k]; sides are multiples of eight.
typedef struct few {
  const float *image, *pixels, *filters;
  float *out, *work;
  long n, h, w, c, k, border;
  void (*run)(struct few *);
} few;

// Tiles at once: their products stay in the second cache.
enum { FEW_SOME = 48, FEW_PLANE = FEW_SOME * 16 + 16 };
#define FEW_LEAST(a, b) ((a) < (b) ? (a) : (b))
#define FEW_WIDE(j) (((j)->w + 2 * (j)->border) * (j)->c)
#define FEW_WHOLE(j) (((j)->h + 2 * (j)->border) * FEW_WIDE(j))
// Pairs of columns in a row with its border; of their sums each is a vector.
#define FEW_PAIRS(j) ((j)->w / 2 + (j)->border)
#define FEW_SUMS(j) (((j)->h + 2 * (j)->border) * FEW_PAIRS(j) * 8)
// Floats of whole lines of a cache.
#define FEW_LINES(floats) (((floats) + 15) / 16 * 16)
#define FEW_TILES(j) ((j)->h / 8 * ((j)->w / 8))
#define FEW_IMAGES(j) (FEW_TILES(j) < FEW_SOME ? FEW_SOME / FEW_TILES(j) : 1)

// Where a tile begins, of which there are so many across: in images of some size, in steps down and right.
INLINE long few_at(const few *j, long tile, long whole, long down, long right) {
  const long across = j->w / 8, each = FEW_TILES(j), in = tile % each;
  return tile / each * whole + in / across * down + in % across * right;
}
// Of some tiles: in images with borders, in sums of pairs, among the pixels.
typedef struct places {
  long window[FEW_SOME], sum[FEW_SOME], pixel[FEW_SOME + 1];
} places;
static void few_find(const few *j, long first, long m, places *at) {
  for (long t = 0; t <= m; t++) {
    const long tile = first + (t < m ? t : 0);
    at->pixel[t] = few_at(j, tile, j->h / 2 * (j->w / 2) * j->k, 2 * j->w * j->k, 4 * j->k);
    if (t == m) break;
    at->window[t] = few_at(j, tile, FEW_WHOLE(j), 8 * FEW_WIDE(j), 8 * j->c);
    at->sum[t] = few_at(j, tile, FEW_SUMS(j), 64 * FEW_PAIRS(j), 32);
  }
}
// Lines that no hardware foresees: the next tile's, and behind the last one the next channels'.
#define FEW_AHEAD(image, write) if (!k) { \
    const float *next = (image) + at->pixel[t + 1] + (t + 1 < m ? 0 : 16); \
    for (long q = 0; q < 4; q++) for (long r = 0; r < 4; r++) __builtin_prefetch(next + (q * w + r) * c, write); \
  }

// Images with their borders, which are zero already.
static void few_pad(const few *j, const float *image, float *padded, long n) {
  for (long b = 0; b < n; b++) for (long y = 0; y < j->h; y++)
    memcpy(padded + b * FEW_WHOLE(j) + (y + j->border) * FEW_WIDE(j) + j->border * j->c,
           image + (b * j->h + y) * j->w * j->c, j->w * j->c * sizeof *image);
}

// The sums of pairs as images without their borders; a row is written with them first.
static void few_unpad(const few *j, const float *sums, float *row, float *image, long n) {
  for (long b = 0; b < n; b++) for (long y = 0; y < j->h; y++) {
    const float *from = sums + b * FEW_SUMS(j) + (y + j->border) * FEW_PAIRS(j) * 8;
    for (long x = 0; x < FEW_PAIRS(j); x++) STORE(row + x * 2 * j->c) = LOAD(from + x * 8);
    memcpy(image + (b * j->h + y) * j->w * j->c, row + j->border * j->c, j->w * j->c * sizeof *image);
  }
}

// c[m, 16] = a[m, 2 of 8] b[2, lanes, 16].
INLINE void few_block(const long m, const float *a, long lanes, const float *b, float *c, long wide) {
  v8 o[6][2];
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) o[i][0] = o[i][1] = (v8){0};
  for (long half = 0; half < 16; half += 8) for (long e = half; e < half + lanes; e++, b += 16) {
    v8 left = LOAD(b), right = LOAD(b + 8);
    #pragma GCC unroll 6
    for (long i = 0; i < m; i++) {
      o[i][0] += a[i * 16 + e] * left;
      o[i][1] += a[i * 16 + e] * right;
    }
  }
  #pragma GCC unroll 6
  for (long i = 0; i < m; i++) {
    STORE(c + i * wide) = o[i][0];
    STORE(c + i * wide + 8) = o[i][1];
  }
}
static void few_multiply(const float *a, long lanes, const float *b, float *c, long m, long wide) {
  for (; m >= 6; m -= 6, a += 96, c += 6 * wide) few_block(6, a, lanes, b, c, wide);
  switch (m) {
    case 5: few_block(5, a, lanes, b, c, wide); break;
    case 4: few_block(4, a, lanes, b, c, wide); break;
    case 3: few_block(3, a, lanes, b, c, wide); break;
    case 2: few_block(2, a, lanes, b, c, wide); break;
    case 1: few_block(1, a, lanes, b, c, wide); break;
  }
}
// c[2, lanes, 16] += a[m, 2 of 8]^T b[m, 16].
static void few_outer(const float *a, long lanes, const float *b, float *c, long m) {
  for (long half = 0; half < 16; half += 8, c += lanes * 16) switch (lanes) {
    case 2: outer_block(2, a + half, b, c, 16, m, 1); break;
    case 4: outer_block(4, a + half, b, c, 16, m, 1); break;
    case 6: outer_block(6, a + half, b, c, 16, m, 1); break;
  }
}

static void *few_start(void *it) {
  few *j = it;
  j->run(j);
  return 0;
}

// Each thread some of the images; `size` floats of the result are an image's, or a thread has `own` of them.
static void few_run(few *all, long size, long own, long work, long threads) {
  few jobs[threads];
  const long seen = all->h * all->w * all->c, told = all->h / 2 * (all->w / 2) * all->k;
  for (long t = 0; t < threads; t++) {
    const long begin = all->n * t / threads, end = all->n * (t + 1) / threads;
    jobs[t] = *all;
    jobs[t].n = end - begin;
    jobs[t].work += t * work;
    jobs[t].out += own ? t * own : begin * size;
    if (all->image) jobs[t].image += begin * seen;
    if (all->pixels) jobs[t].pixels += begin * told;
  }
  run_jobs(few_start, jobs, sizeof *jobs, threads);
}
