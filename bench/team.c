// Jobs side by side; stands before the C of bench/winograd.py, direct.py, head_products.py and normalised.py.
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
static void (*team)(void (*)(void *), void *, unsigned, unsigned);
static int (*member)(void), (*members)(void);
static pthread_once_t once = PTHREAD_ONCE_INIT;

// A forked process has no team left, and would wait for it.
static void leave_team(void) { of_team = 0; }

// torch puts its OpenMP where the whole process finds it.
static void look(void) {
  member = (int (*)(void))dlsym(RTLD_DEFAULT, "omp_get_thread_num");
  members = (int (*)(void))dlsym(RTLD_DEFAULT, "omp_get_num_threads");
  if (member && members)
    team = (void (*)(void (*)(void *), void *, unsigned, unsigned))dlsym(RTLD_DEFAULT, "GOMP_parallel");
  pthread_atfork(0, 0, leave_team);
}

int has_team(void) {
  pthread_once(&once, look);
  return team != 0;
}

static void take_share(void *it) {
  const share *s = it;
  for (long t = member(), all = members(); t < s->count; t += all) s->run(s->jobs + t * s->size);
}

// Each of the jobs, of so many bytes, once; the first of them by the thread that asks.
static void run_jobs(void *(*run)(void *), void *jobs, long size, long count) {
  share all = {run, jobs, size, count};
  if (count > 1 && has_team() && of_team) {
    // The whole team, though some of it may find no job: OpenMP ends those of torch's threads that are not asked.
    team(take_share, &all, 0, 0);
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
