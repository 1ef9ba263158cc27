/* A disk that can fail, preloaded under a process: see ../disk.rs, which compiles this and says what the variables mean.
 *
 * It stands in for the calls by which SQLite changes files beneath DISK_ROOT. It calls the system itself, so it needs to find
 * no function that it hides. Memory that processes share (-shm) is left alone: it is rebuilt after every loss. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static int is_watched(const char *path) {
    const char *root = getenv("DISK_ROOT");
    size_t length = root ? strlen(root) : 0;
    return length && strncmp(path, root, length) == 0 && (path[length] == 0 || path[length] == '/') && !ends_with(path, "-shm");
}

/* The path of a watched file or folder that is open. A file that was removed is watched no more. */
static int watched_file(int fd, char path[PATH_MAX]) {
    char link[64];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    errno = kept;
    if (length < 0) return 0;
    path[length] = 0;
    return is_watched(path) && !ends_with(path, " (deleted)");
}

/* Whether a fault is switched on, by a file of its name. */
static int is_on(const char *fault) {
    const char *folder = getenv("DISK_FAULTS");
    char path[PATH_MAX];
    int kept = errno;
    if (!folder) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, fault);
    int on = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
    errno = kept;
    return on;
}

/* One of so many calls, the same ones in every run that makes the same calls. */
static int by_chance(long one_in) {
    static uint64_t state;
    if (one_in <= 0) return 0;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % (uint64_t)one_in == 0;
}

struct event {
    uint8_t kind;
    uint8_t padding[3];
    uint32_t path;
    uint64_t offset;
    uint64_t length;
};

static void put(int fd, const void *bytes, size_t length) {
    for (const char *next = bytes; length;) {
        ssize_t done = syscall(SYS_write, fd, next, length);
        if (done <= 0) abort();
        next += done;
        length -= (size_t)done;
    }
}

/* Called with the lock held, so that the record has the order in which things happened. */
static void record(char kind, const char *path, uint64_t offset, const void *bytes, uint64_t length) {
    static int trace = -1;
    const char *name = getenv("DISK_TRACE");
    if (!name) return;
    if (trace < 0) trace = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace < 0) abort();
    int kept = errno;
    struct event event = {.kind = (uint8_t)kind, .path = (uint32_t)strlen(path), .offset = offset, .length = length};
    put(trace, &event, sizeof event);
    put(trace, path, event.path);
    if (bytes) put(trace, bytes, length);
    errno = kept;
}

/* At the end of a process nothing may have happened that isn't recorded in whole, because the next one goes on in the same
 * record. Threads that still run wait here for the end. */
__attribute__((destructor)) static void end(void) {
    pthread_mutex_lock(&lock);
}

/* What has its blocks already can be written to a full disk still. */
static int is_too_much(int fd, uint64_t end) {
    struct stat now;
    return is_on("full") && fstat(fd, &now) == 0 && end > (uint64_t)now.st_size;
}

static ssize_t write_at(int fd, const char *path, const void *bytes, size_t length, off_t offset, int seeks) {
    ssize_t done = -1;
    pthread_mutex_lock(&lock);
    if (is_too_much(fd, (uint64_t)offset + length)) {
        errno = ENOSPC;
    } else {
        done = seeks ? syscall(SYS_write, fd, bytes, length) : syscall(SYS_pwrite64, fd, bytes, length, offset);
        if (done > 0) record('W', path, (uint64_t)offset, bytes, (uint64_t)done);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    char path[PATH_MAX];
    if (!watched_file(fd, path)) return syscall(SYS_write, fd, bytes, length);
    return write_at(fd, path, bytes, length, lseek(fd, 0, SEEK_CUR), 1);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    char path[PATH_MAX];
    if (!watched_file(fd, path)) return syscall(SYS_pwrite64, fd, bytes, length, offset);
    return write_at(fd, path, bytes, length, offset, 0);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite64(fd, bytes, length, offset);
}

int ftruncate64(int fd, off64_t length) {
    char path[PATH_MAX];
    if (!watched_file(fd, path)) return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_ftruncate, fd, length);
    if (result == 0) record('T', path, 0, NULL, (uint64_t)length);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}

/* As Linux does it: what a failed sync left unwritten isn't written by the next one either. */
static int sync_file(int fd, long number) {
    char path[PATH_MAX];
    if (!watched_file(fd, path)) return (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    int is_log = ends_with(path, "-wal"), is_database = ends_with(path, ".db");
    int fails = (is_log && is_on("log-syncs-fail")) || (is_database && is_on("database-syncs-fail"));
    const char *chance = getenv("DISK_SYNC_FAILS_ONE_IN");
    long one_in = chance ? atol(chance) : 0;
    /* The database is synced far less often. */
    if (is_log || is_database) fails |= by_chance(is_database && one_in > 2 ? 2 : one_in);
    int result = -1;
    if (fails) {
        errno = EIO;
    } else {
        /* What is recorded needs no disk: the record alone says what a loss of power leaves. */
        result = getenv("DISK_TRACE") ? 0 : (int)syscall(number, fd);
    }
    record(result == 0 ? 'S' : 'F', path, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) {
    return sync_file(fd, SYS_fsync);
}

int fdatasync(int fd) {
    return sync_file(fd, SYS_fdatasync);
}

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    if (!(flags & O_CREAT) || !is_watched(path)) return (int)syscall(SYS_openat, folder, path, flags, mode);
    pthread_mutex_lock(&lock);
    int kept = errno;
    int is_new = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    errno = kept;
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && is_new) record('C', path, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags, mode)            \
    mode_t mode = 0;                 \
    if ((flags) & O_CREAT) {         \
        va_list rest;                \
        va_start(rest, flags);       \
        mode = va_arg(rest, mode_t); \
        va_end(rest);                \
    }

int open(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_at(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int mkdir(const char *path, mode_t mode) {
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (result == 0 && is_watched(path)) record('M', path, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (result == 0 && is_watched(path)) record('U', path, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
