// Preloaded into a test process, this library writes down what SQLite does to the
// journal's files, or makes fsync fail.
//
// ENTROPY_SHIM_LOG names the log. A record is: op (1 byte), file (1 byte: 'd' the
// main file, 'w' the write-ahead log), offset (8), length (4), data; integers are
// little-endian. Ops: 'W' written, 'T' truncated to offset, 'B' fsync begins, 'E'
// fsync has ended, both with the thread as offset. The test process adds records of op 'A', an acknowledgment.
//
// ENTROPY_SHIM_FAIL names a file; while it exists fsync fails with EIO.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static int logfd = -2;

static char kind(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  const char *dot = strstr(path, "journal.db");
  if (!dot) return 0;
  if (!strcmp(dot, "journal.db")) return 'd';
  if (!strcmp(dot, "journal.db-wal")) return 'w';
  return 0;
}

static void record(char op, int fd, uint64_t off, const void *data, uint32_t len) {
  const char *path = getenv("ENTROPY_SHIM_LOG");
  char k = path ? kind(fd) : 0;
  if (!k) return;
  char *buf = malloc(14 + (size_t)len);
  if (!buf) abort();
  buf[0] = op;
  buf[1] = k;
  memcpy(buf + 2, &off, 8);
  memcpy(buf + 10, &len, 4);
  if (len) memcpy(buf + 14, data, len);
  pthread_mutex_lock(&mu);
  if (logfd == -2) logfd = open(path, O_WRONLY | O_APPEND);
  if (logfd < 0 || syscall(SYS_write, logfd, buf, 14 + (size_t)len) != (ssize_t)(14 + (size_t)len)) abort();
  pthread_mutex_unlock(&mu);
  free(buf);
}

ssize_t pwrite(int fd, const void *b, size_t n, off_t off) {
  ssize_t r = syscall(SYS_pwrite64, fd, b, n, off);
  if (r > 0) record('W', fd, off, b, r);
  return r;
}
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t off) { return pwrite(fd, b, n, off); }

int ftruncate(int fd, off_t n) {
  int r = syscall(SYS_ftruncate, fd, n);
  if (r == 0) record('T', fd, n, 0, 0);
  return r;
}
int ftruncate64(int fd, off64_t n) { return ftruncate(fd, n); }

static int sync_with(long nr, int fd) {
  const char *fail = getenv("ENTROPY_SHIM_FAIL");
  if (fail && kind(fd) && access(fail, F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  record('B', fd, gettid(), 0, 0);
  int r = syscall(nr, fd);
  if (r == 0) record('E', fd, gettid(), 0, 0);
  return r;
}
int fsync(int fd) { return sync_with(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_with(SYS_fdatasync, fd); }
