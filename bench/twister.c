// Matsumoto and Nishimura's Mersenne twister, ACM TOMACS 8(1), 1998, seeded by one word: all bits where the low 24 of a
// word are not less than `least`, else none. torch's uniform numbers are made of those 24.
void keep_bits(int *keep, long count, unsigned seed, unsigned least) {
  enum { N = 624, M = 397 };
  unsigned s[N + 1];
  s[0] = seed;
  for (unsigned i = 1; i < N; i++) s[i] = 1812433253u * (s[i - 1] ^ s[i - 1] >> 30) + i;
  #define NEXT(i, from) do { \
      unsigned both = (s[i] & 0x80000000u) | (s[(i) + 1] & 0x7fffffffu); \
      s[i] = s[from] ^ both >> 1 ^ (-(both & 1) & 0x9908b0dfu); \
    } while (0)
  for (long done = 0; done < count; done += N) {
    // A word is made of old ones, then of new ones that are N - M before it: eight at once, in parts.
    #pragma GCC ivdep
    for (long i = 0; i < N - M; i++) NEXT(i, i + M);
    #pragma GCC ivdep
    for (long i = N - M; i < 2 * (N - M); i++) NEXT(i, i - (N - M));
    s[N] = s[0];
    #pragma GCC ivdep
    for (long i = 2 * (N - M); i < N; i++) NEXT(i, i - (N - M));
    long some = count - done < N ? count - done : N;
    for (long i = 0; i < some; i++) {
      unsigned y = s[i];
      y ^= y >> 11;
      y ^= y << 7 & 0x9d2c5680u;
      y ^= y << 15 & 0xefc60000u;
      y ^= y >> 18;
      keep[done + i] = (y & 0xffffffu) >= least ? -1 : 0;
    }
  }
  #undef NEXT
}
