/* System calls that write under one folder: counted, made to fail, and undone as a power cut undoes them.

   Loaded by LD_PRELOAD, told what to do by faults_arm (called by ctypes, in the child that is to suffer):

   counts  only counts: faults_count() says how many calls of the write path there were
   fail    the Nth fails with `error`, once, or from then on where `forever` is set (until the process ends)
   cut     at the Nth, power is cut: the process dies, and what was not synced is undone by the parent, from the journal

   The journal is a text file outside the folder: a line for each change of names (n), of contents (w) and each sync (s
   for a file, d for a folder), by path. The parent (tests/faults/power.py) keeps what was synced and undoes the rest.
   What a synced file held is copied at the sync, into a folder beside the journal. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { IDLE, COUNTS, FAILS, CUTS };
static int mode = IDLE, error_number, forever, journal = -1;
static long count, nth, synced;
static char root[PATH_MAX], store[PATH_MAX];
static char calls[1 << 16];
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static int under(const char *path) {
  size_t length = strlen(root);
  return length && !strncmp(path, root, length) && (path[length] == '/' || path[length] == 0);
}

static int path_of_handle(int handle, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
  ssize_t length = syscall(SYS_readlink, link, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return 1;
}

static int full_path(int folder, const char *given, char *path) {
  char base[PATH_MAX];
  if (given[0] == '/') {
    snprintf(path, PATH_MAX, "%s", given);
    return 1;
  }
  if (folder == AT_FDCWD) {
    if (!getcwd(base, sizeof base)) return 0;
  } else if (!path_of_handle(folder, base)) {
    return 0;
  }
  return snprintf(path, PATH_MAX, "%s/%s", base, given) < PATH_MAX;
}

static void note(char kind, const char *path, const char *other) {
  char line[3 * PATH_MAX];
  int length = snprintf(line, sizeof line, "%c\t%s\t%s\n", kind, path, other);
  if (journal >= 0) syscall(SYS_write, journal, line, length);
}

static void keep(int handle, const char *path) {
  /* What a sync made safe, copied by plain system calls. */
  char name[PATH_MAX + 32], number[32], buffer[1 << 16];
  snprintf(number, sizeof number, "%ld", ++synced);
  snprintf(name, sizeof name, "%s/%s", store, number);
  int from = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
  int to = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  (void)handle;
  for (ssize_t got; from >= 0 && to >= 0 && (got = syscall(SYS_read, from, buffer, sizeof buffer)) > 0;)
    syscall(SYS_write, to, buffer, got);
  if (from >= 0) syscall(SYS_close, from);
  if (to >= 0) syscall(SYS_close, to);
  note('s', path, number);
}

/* Whether the call that is about to be made is to fail; does not return from a power cut. */
static int due(const char *call, const char *path) {
  if (mode == IDLE || !under(path)) return 0;
  pthread_mutex_lock(&turn);
  long number = ++count;
  int fails = mode == FAILS && (number == nth || (forever && number > nth));
  if (mode == CUTS && number == nth) syscall(SYS_kill, getpid(), SIGKILL);
  if (mode == COUNTS || number == nth) {
    size_t used = strlen(calls);
    snprintf(calls + used, sizeof calls - used, "%s %s\n", call, path + strlen(root));
  }
  pthread_mutex_unlock(&turn);
  return fails;
}

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })
#define FAIL_IF_DUE(call, path) do { if (due(call, path)) { errno = error_number; return -1; } } while (0)

void faults_arm(const char *folder, const char *what, long at, int error, int always, const char *journal_file,
                const char *store_folder) {
  snprintf(root, sizeof root, "%s", folder);
  snprintf(store, sizeof store, "%s", store_folder);
  count = synced = 0;
  nth = at;
  error_number = error;
  forever = always;
  calls[0] = 0;
  if (journal_file[0]) journal = syscall(SYS_openat, AT_FDCWD, journal_file, O_WRONLY | O_CREAT | O_APPEND, 0644);
  mode = !strcmp(what, "counts") ? COUNTS : !strcmp(what, "fail") ? FAILS : !strcmp(what, "cut") ? CUTS : IDLE;
}
long faults_count(void) { return count; }
const char *faults_calls(void) { return calls; }

static int opened(const char *call, int folder, const char *given, int flags, mode_t permissions) {
  char path[PATH_MAX];
  int writes = flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC) || error_number == EMFILE, known = 0, is_new = 0;
  if (mode != IDLE && writes && full_path(folder, given, path) && under(path)) {
    struct stat seen;
    known = 1;
    is_new = (flags & O_CREAT) && syscall(SYS_newfstatat, AT_FDCWD, path, &seen, 0) != 0;
    FAIL_IF_DUE(call, path);
  }
  int handle = syscall(SYS_openat, folder, given, flags, permissions);
  if (known && handle >= 0) {
    if (is_new) note('n', path, "");
    if (flags & O_TRUNC) note('w', path, "");
  }
  return handle;
}

#define OPEN(name)                                       \
  int name(const char *path, int flags, ...) {           \
    va_list rest;                                        \
    va_start(rest, flags);                               \
    mode_t permissions = va_arg(rest, int);              \
    va_end(rest);                                        \
    return opened("open", AT_FDCWD, path, flags, permissions); \
  }
OPEN(open)
OPEN(open64)
#define OPENAT(name)                                          \
  int name(int folder, const char *path, int flags, ...) {    \
    va_list rest;                                             \
    va_start(rest, flags);                                    \
    mode_t permissions = va_arg(rest, int);                   \
    va_end(rest);                                             \
    return opened("open", folder, path, flags, permissions);  \
  }
OPENAT(openat)
OPENAT(openat64)
int creat(const char *path, mode_t permissions) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, permissions); }

static const char *stream_mode(const char *flags) { return strpbrk(flags, "wa+"); }
#define FOPEN(name)                                                         \
  FILE *name(const char *given, const char *flags) {                        \
    char path[PATH_MAX];                                                    \
    int watched = mode != IDLE && stream_mode(flags) && full_path(AT_FDCWD, given, path) && under(path); \
    if (watched && due("open", path)) { errno = error_number; return NULL; } \
    FILE *file = REAL(name)(given, flags);                                  \
    if (watched && file) { note('n', path, ""); note('w', path, ""); }      \
    return file;                                                            \
  }
FOPEN(fopen)
FOPEN(fopen64)

#define ON_HANDLE(call, handle)                                                        \
  char path[PATH_MAX];                                                                 \
  int watched = mode != IDLE && path_of_handle(handle, path) && under(path);           \
  if (watched) FAIL_IF_DUE(call, path)

ssize_t write(int handle, const void *from, size_t size) {
  ON_HANDLE("write", handle);
  ssize_t done = REAL(write)(handle, from, size);
  if (watched) note('w', path, "");
  return done;
}
ssize_t writev(int handle, const struct iovec *from, int parts) {
  ON_HANDLE("write", handle);
  ssize_t done = REAL(writev)(handle, from, parts);
  if (watched) note('w', path, "");
  return done;
}
ssize_t pwrite(int handle, const void *from, size_t size, off_t at) {
  ON_HANDLE("write", handle);
  ssize_t done = REAL(pwrite)(handle, from, size, at);
  if (watched) note('w', path, "");
  return done;
}
ssize_t pwrite64(int handle, const void *from, size_t size, off64_t at) {
  ON_HANDLE("write", handle);
  ssize_t done = REAL(pwrite64)(handle, from, size, at);
  if (watched) note('w', path, "");
  return done;
}
ssize_t sendfile(int handle, int from, off_t *at, size_t size) {
  ON_HANDLE("write", handle);
  ssize_t done = REAL(sendfile)(handle, from, at, size);
  if (watched) note('w', path, "");
  return done;
}
ssize_t sendfile64(int handle, int from, off64_t *at, size_t size) {
  ON_HANDLE("write", handle);
  ssize_t done = REAL(sendfile64)(handle, from, at, size);
  if (watched) note('w', path, "");
  return done;
}
static int shorter(int handle, off_t size) {
  ON_HANDLE("ftruncate", handle);
  int done = syscall(SYS_ftruncate, handle, size);
  if (watched) note('w', path, "");
  return done;
}
int ftruncate(int handle, off_t size) { return shorter(handle, size); }
int ftruncate64(int handle, off64_t size) { return shorter(handle, size); }
int posix_fallocate(int handle, off_t at, off_t size) {
  char path[PATH_MAX];
  if (mode != IDLE && path_of_handle(handle, path) && due("fallocate", path)) return error_number;
  return REAL(posix_fallocate)(handle, at, size);
}

static int sync_handle(const char *call, int handle, long number) {
  ON_HANDLE(call, handle);
  int done = syscall(number, handle);
  if (watched && !done) {
    struct stat what;
    if (!fstat(handle, &what) && S_ISDIR(what.st_mode)) note('d', path, "");
    else keep(handle, path);
  }
  return done;
}
int fsync(int handle) { return sync_handle("fsync", handle, SYS_fsync); }
int fdatasync(int handle) { return sync_handle("fsync", handle, SYS_fdatasync); }

static int renamed(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
  char old[PATH_MAX], new[PATH_MAX];
  int watched = mode != IDLE && full_path(from_folder, from, old) && full_path(to_folder, to, new) && under(new);
  if (watched) FAIL_IF_DUE("rename", new);
  int done = syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
  if (watched && !done) note('m', old, new);
  return done;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }

static int removed(const char *call, int folder, const char *given, int flags) {
  char path[PATH_MAX];
  int watched = mode != IDLE && full_path(folder, given, path) && under(path);
  if (watched) FAIL_IF_DUE(call, path);
  if (watched && !(flags & AT_REMOVEDIR)) note('u', path, "");
  int done = syscall(SYS_unlinkat, folder, given, flags);
  if (watched && !done && (flags & AT_REMOVEDIR)) note('r', path, "");
  return done;
}
int unlink(const char *path) { return removed("unlink", AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed("rmdir", AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int folder, const char *path, int flags) {
  return removed(flags & AT_REMOVEDIR ? "rmdir" : "unlink", folder, path, flags);
}
static int made(int folder, const char *given, mode_t permissions) {
  char path[PATH_MAX];
  int watched = mode != IDLE && full_path(folder, given, path) && under(path);
  if (watched) FAIL_IF_DUE("mkdir", path);
  int done = syscall(SYS_mkdirat, folder, given, permissions);
  if (watched && !done) note('k', path, "");
  return done;
}
int mkdir(const char *path, mode_t permissions) { return made(AT_FDCWD, path, permissions); }
int mkdirat(int folder, const char *path, mode_t permissions) { return made(folder, path, permissions); }
static int allowed(int folder, const char *given, mode_t permissions, int flags) {
  char path[PATH_MAX];
  int watched = mode != IDLE && full_path(folder, given, path) && under(path);
  if (watched) FAIL_IF_DUE("chmod", path);
  return REAL(fchmodat)(folder, given, permissions, flags);
}
int chmod(const char *path, mode_t permissions) { return allowed(AT_FDCWD, path, permissions, 0); }
int fchmodat(int folder, const char *path, mode_t permissions, int flags) {
  return allowed(folder, path, permissions, flags);
}
