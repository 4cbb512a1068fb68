// Batch norm, its activation and a 3x3 pool of stride 2 behind it at once, without the map in between; what it is
// made of stands in channels.c.

// The largest of each 3x3 window, at every other row and column, which reaches one beyond the border: y, the norm's
// input there, and which of the nine it is.
INLINE void pool_some(const int kind, job *j) {
  long c = j->c, h = j->h, w = j->w, high = (h + 1) / 2, wide = (w + 1) / 2;
  PART_ROWS(j, j->begin);
  (void)last;
  long end = j->rows * j->end / j->parts;
  for (long n = first; n < end; n++) for (long u = 0; u < high; u++) for (long v = 0; v < wide; v++) {
    long top = u ? 0 : 1, left = v ? 0 : 1, bottom = 2 * u + 1 < h ? 3 : 2, right = 2 * v + 1 < w ? 3 : 2;
    const float *from = j->x + ((n * h + 2 * u - 1) * w + 2 * v - 1) * c;
    long out = ((n * high + u) * wide + v) * c;
    for (long k = 0; k < c; k += 8) {
      v8 mean = LOAD(j->l.mean + k), scale = LOAD(j->l.scale + k), shift = LOAD(j->l.shift + k);
      v8 x = LOAD(from + (top * w + left) * c + k), most = (x - mean) * scale + shift;
      m8 which = (m8){0} + (int)(3 * top + left);
      for (long a = top; a < bottom; a++) for (long b = left; b < right; b++) {
        v8 other = LOAD(from + (a * w + b) * c + k), z = (other - mean) * scale + shift;
        m8 more = (z > most) | (z != z);
        most = chosen(more, z, most);
        x = chosen(more, other, x);
        which = (more & ((m8){0} + (int)(3 * a + b))) | (~more & which);
      }
      STORE(j->to + out + k) = activated(kind, j->slope, most);
      STORE(j->kept + out + k) = x;
      *(u8 *)(j->which + out + k) = __builtin_convertvector(which, u8);
    }
  }
}

// As `return_some`, where the gradient is one of the pool's: dy is that of the largest values.
static void return_pooled(job *j) {
  long c = j->c, h = j->h, w = j->w, high = (h + 1) / 2, wide = (w + 1) / 2;
  PART_ROWS(j, j->begin);
  (void)last;
  long end = j->rows * j->end / j->parts;
  const float *offset = j->l.guess, *slope = j->kept;
  for (long n = first; n < end; n++) for (long y = 0; y < h; y++) for (long z = 0; z < w; z++) {
    // The windows that have it: one or two a dimension, at their middle or at their ends.
    long windows[4], places[4], count = 0;
    for (long u = y / 2; u <= (y + 1) / 2 && u < high; u++) for (long v = z / 2; v <= (z + 1) / 2 && v < wide; v++) {
      windows[count] = ((n * high + u) * wide + v) * c;
      places[count++] = 3 * (y + 1 - 2 * u) + z + 1 - 2 * v;
    }
    long at = ((n * h + y) * w + z) * c;
    for (long k = 0; k < c; k += 8) {
      v8 g = {0}, d = LOAD(j->x + at + k) - LOAD(j->l.mean + k);
      for (long i = 0; i < count; i++) {
        m8 hit = __builtin_convertvector(*(const u8 *)(j->which + windows[i] + k), m8) == (int)places[i];
        g += (v8)(hit & (m8)LOAD(j->dy + windows[i] + k));
      }
      STORE(j->to + at + k) = LOAD(j->l.scale + k) * g - (d * LOAD(slope + k) + LOAD(offset + k));
    }
  }
}

PASS(pool_relu, pool_some(RELU, j))
PASS(pool_leaky, pool_some(LEAKY, j))

// y [n, (h + 1) / 2, (w + 1) / 2, c], a 3x3 pool of stride 2 of act(norm(x)); `largest` and `which` are kept for the
// way back.
void normalise_pooled(const float *x, float *y, float *largest, unsigned char *which, const float *weight,
                      const float *bias, float *running_mean, float *running_var, long *batches, float *told,
                      double *sums, double momentum, double eps, double slope, int kind, long n, long h, long w,
                      long c, long threads) {
  know(x, weight, bias, running_mean, running_var, batches, told, sums, momentum, eps, n * h * w, c, threads);
  job all = {.x = x, .to = y, .kept = largest, .which = which, .rows = n, .parts = n < 32 ? n : 32, .c = c, .h = h,
             .w = w, .slope = slope, .l = layer_at(told, c)};
  run_all(&all, kind == RELU ? pool_relu : pool_leaky, threads);
}

// The same behind `normalise_pooled`, of dy and working memory of its size.
void normalise_pooled_back(const float *x, const float *y, const float *largest, const unsigned char *which,
                           const float *dy, float *work, float *dx, float *dweight, float *dbias, float *told,
                           double *sums, double slope, int kind, long n, long h, long w, long c, long threads) {
  long rows = n * ((h + 1) / 2) * ((w + 1) / 2);
  job all = {.x = largest, .y = y, .dy = dy, .kept = work, .sums = sums, .rows = rows, .parts = parts_of(rows),
             .c = c, .slope = slope, .l = layer_at(told, c)};
  float slopes_by_x[c];
  sums_back(&all, dweight, dbias, slopes_by_x, kind, n * h * w, threads);
  if (!dx) return;
  job back = {.x = x, .dy = work, .to = dx, .kept = slopes_by_x, .which = (unsigned char *)which, .rows = n,
              .parts = n < 32 ? n : 32, .c = c, .h = h, .w = w, .l = all.l};
  run_all(&back, return_pooled, threads);
}
