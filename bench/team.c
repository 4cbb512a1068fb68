// Jobs side by side; stands before the C of bench/winograd.py, bench/direct.py and bench/normalised.py.
// Where torch's threads are a team of GNU OpenMP's, these are the ones that take them: having done one of torch's
// operations they go on looking for the next for a while, and threads of our own would wait for their cores.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

typedef struct {
  void *(*run)(void *);
  char *jobs;
  long size, count;
} share;

// 0 where threads of our own are to take the jobs.
int of_team = 1;
static int (*member)(void), (*members)(void);

static void take_share(void *it) {
  const share *s = it;
  // A team may be smaller than was asked for.
  for (long t = member(), all = members(); t < s->count; t += all) s->run(s->jobs + t * s->size);
}

// Each of the jobs, of so many bytes, once; the first of them by the thread that asks.
static void run_jobs(void *(*run)(void *), void *jobs, long size, long count) {
  // Looked for once: torch puts its OpenMP where the whole process finds it.
  static void (*team)(void (*)(void *), void *, unsigned, unsigned);
  static int looked;
  if (!__atomic_load_n(&looked, __ATOMIC_ACQUIRE)) {
    member = (int (*)(void))dlsym(RTLD_DEFAULT, "omp_get_thread_num");
    members = (int (*)(void))dlsym(RTLD_DEFAULT, "omp_get_num_threads");
    if (member && members) *(void **)&team = dlsym(RTLD_DEFAULT, "GOMP_parallel");
    __atomic_store_n(&looked, 1, __ATOMIC_RELEASE);
  }
  share all = {run, jobs, size, count};
  if (count > 1 && team && of_team) {
    team(take_share, &all, count, 0);
    return;
  }
  pthread_t made[count];
  int own[count];
  for (long t = 1; t < count; t++) own[t] = pthread_create(made + t, 0, run, all.jobs + t * size);
  run(jobs);
  for (long t = 1; t < count; t++) {
    if (own[t]) run(all.jobs + t * size);
    else pthread_join(made[t], 0);
  }
}
