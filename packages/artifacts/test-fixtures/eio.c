// Preloaded, it makes one system call on files whose path holds a text fail with EIO: STORE_EIO=fsync:/blobs/ and the like.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int hit(const char *call, int fd) {
  const char *fault = getenv("STORE_EIO");
  size_t length = strlen(call);
  char link[64], path[4096];
  if (!fault || strncmp(fault, call, length) != 0 || fault[length] != ':') return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  if (!strstr(path, fault + length + 1)) return 0;
  errno = EIO;
  return 1;
}

#define WRAP(type, name, call, declared, passed)                                     \
  type name declared {                                                               \
    static type(*real) declared;                                                     \
    if (!real) real = (type(*) declared)dlsym(RTLD_NEXT, #name);                     \
    return hit(call, fd) ? -1 : real passed;                                         \
  }

WRAP(int, fsync, "fsync", (int fd), (fd))
WRAP(int, fdatasync, "fsync", (int fd), (fd))
WRAP(ssize_t, write, "write", (int fd, const void *buffer, size_t count), (fd, buffer, count))
WRAP(ssize_t, pwrite, "write", (int fd, const void *buffer, size_t count, off_t at), (fd, buffer, count, at))
WRAP(ssize_t, pwrite64, "write", (int fd, const void *buffer, size_t count, off64_t at), (fd, buffer, count, at))
WRAP(ssize_t, writev, "write", (int fd, const struct iovec *parts, int count), (fd, parts, count))
WRAP(ssize_t, read, "read", (int fd, void *buffer, size_t count), (fd, buffer, count))
WRAP(ssize_t, pread, "read", (int fd, void *buffer, size_t count, off_t at), (fd, buffer, count, at))
WRAP(ssize_t, pread64, "read", (int fd, void *buffer, size_t count, off64_t at), (fd, buffer, count, at))
