/* A disk that fails: preloaded into a process, it stands between the process and the system's calls on files.
 *
 * DISK_FAULT is "op suffix nth errno mode", with blanks between:
 *   op      sync (fsync, fdatasync), write (write, pwrite), read (read, pread), cut (ftruncate) or make (open with
 *           O_CREAT of a file that is not there)
 *   suffix  how the file's path ends
 *   nth     which of these calls fails, from 1; 0: none, they are only counted
 *   errno   what it fails with
 *   mode    once      this call alone
 *           lasting   this one and all that follow
 *           lost      of a sync: once, and what was written to the file since its last sync is undone, as a kernel does
 *                     that drops the pages which it could not write
 *           short     of a write or a read: the call does half of its work and says so
 *           torn      of a write: half of it is written, and the rest of it fails
 * DISK_REPORT  a file to which "hit" is written for every call that failed, and "calls N" when the process exits.
 * DISK_MOUNTS  a file that is read where /proc/self/mountinfo is asked for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum mode { ONCE, LASTING, LOST, SHORT, TORN };

static char op[16], suffix[64];
static long nth, calls;
static int error, armed;
static enum mode mode;
static const char *report, *mounts;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* The place where the rest of a torn write begins; -1: none. */
static off_t torn_at = -1;

/* What a write since the last sync wrote over. */
struct undo {
    struct undo *before;
    dev_t device;
    ino_t inode;
    off_t at, size;
    ssize_t length;
    char old[];
};
static struct undo *undos;

static void say(const char *what) {
    if (!report) return;
    int fd = syscall(SYS_openat, AT_FDCWD, report, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    syscall(SYS_write, fd, what, strlen(what));
    syscall(SYS_close, fd);
}

__attribute__((constructor)) static void begin(void) {
    static const char *names[] = {"once", "lasting", "lost", "short", "torn"};
    const char *fault = getenv("DISK_FAULT");
    char name[16];
    report = getenv("DISK_REPORT");
    mounts = getenv("DISK_MOUNTS");
    if (!fault) return;
    if (sscanf(fault, "%15s %63s %ld %d %15s", op, suffix, &nth, &error, name) != 5) abort();
    for (int i = 0; i < 5; i++)
        if (!strcmp(name, names[i])) mode = i, armed = 1;
    if (!armed) abort();
}

__attribute__((destructor)) static void end(void) {
    char text[32];
    snprintf(text, sizeof text, "calls %ld\n", calls);
    say(text);
}

static int ends_so(const char *path) {
    size_t length = strlen(path), wanted = strlen(suffix);
    return length >= wanted && !strcmp(path + length - wanted, suffix);
}

static int is_ours(int fd) {
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return ends_so(path);
}

/* Whether this call fails. Under the lock. */
static int fails(void) {
    calls++;
    int hit = nth && (mode == LASTING ? calls >= nth : calls == nth);
    if (hit) say("hit\n");
    return hit;
}

static void forget(int fd, int undo_them) {
    struct stat of;
    if (fstat(fd, &of)) return;
    for (struct undo **at = &undos; *at;) {
        struct undo *one = *at;
        if (one->device != of.st_dev || one->inode != of.st_ino) {
            at = &one->before;
            continue;
        }
        if (undo_them) {
            syscall(SYS_pwrite64, fd, one->old, one->length, one->at);
            syscall(SYS_ftruncate, fd, one->size);
        }
        *at = one->before;
        free(one);
    }
}

static int is_a_sync_of_ours(int fd) {
    return armed && !strcmp(op, "sync") && is_ours(fd);
}

static int synced(int fd, int number) {
    if (!is_a_sync_of_ours(fd)) return syscall(number, fd);
    pthread_mutex_lock(&lock);
    int failed = fails(), result = -1;
    if (failed) {
        forget(fd, mode == LOST);
    } else {
        result = syscall(number, fd);
        if (!result) forget(fd, 0);
    }
    pthread_mutex_unlock(&lock);
    if (failed) errno = error;
    return result;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static void keep_old(int fd, size_t length, off_t at) {
    struct stat of;
    struct undo *one = malloc(sizeof *one + length);
    if (!one) abort();
    if (fstat(fd, &of)) abort();
    ssize_t old = syscall(SYS_pread64, fd, one->old, length, at);
    *one = (struct undo){undos, of.st_dev, of.st_ino, at, of.st_size, old < 0 ? 0 : old};
    undos = one;
}

static ssize_t written(int fd, const void *from, size_t length, off_t at) {
    if (!armed || !is_ours(fd)) return syscall(SYS_pwrite64, fd, from, length, at);
    pthread_mutex_lock(&lock);
    ssize_t result = -1;
    int failed = 0;
    if (!strcmp(op, "sync") && mode == LOST) keep_old(fd, length, at);
    if (!strcmp(op, "write")) {
        if (torn_at >= 0 && torn_at == at) {
            failed = 1;
        } else if (fails()) {
            size_t half = length / 2;
            if ((mode == SHORT || mode == TORN) && half > 0) {
                result = syscall(SYS_pwrite64, fd, from, half, at);
                if (mode == TORN && result > 0) torn_at = at + result;
                goto out;
            }
            failed = 1;
        }
        if (!failed) torn_at = -1;
    }
    if (!failed) result = syscall(SYS_pwrite64, fd, from, length, at);
out:
    pthread_mutex_unlock(&lock);
    if (failed) errno = error;
    return result;
}

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) { return written(fd, from, length, at); }
ssize_t pwrite(int fd, const void *from, size_t length, off_t at) { return written(fd, from, length, at); }

ssize_t write(int fd, const void *from, size_t length) {
    if (!armed || !is_ours(fd)) return syscall(SYS_write, fd, from, length);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = written(fd, from, length, at);
    if (done > 0) {
        int saved = errno;
        lseek(fd, at + done, SEEK_SET);
        errno = saved;
    }
    return done;
}

/* Whether this read fails, or is short. */
static int reads_badly(int fd, size_t *length) {
    if (!armed || strcmp(op, "read") || !is_ours(fd)) return 0;
    pthread_mutex_lock(&lock);
    int failed = fails();
    pthread_mutex_unlock(&lock);
    if (failed && mode == SHORT && *length > 1) {
        *length /= 2;
        return 0;
    }
    return failed;
}

static ssize_t no(void) {
    errno = error;
    return -1;
}

ssize_t pread64(int fd, void *to, size_t length, off64_t at) {
    return reads_badly(fd, &length) ? no() : syscall(SYS_pread64, fd, to, length, at);
}
ssize_t pread(int fd, void *to, size_t length, off_t at) { return pread64(fd, to, length, at); }
ssize_t read(int fd, void *to, size_t length) {
    return reads_badly(fd, &length) ? no() : syscall(SYS_read, fd, to, length);
}

int ftruncate64(int fd, off64_t length) {
    if (armed && !strcmp(op, "cut") && is_ours(fd)) {
        pthread_mutex_lock(&lock);
        int failed = fails();
        pthread_mutex_unlock(&lock);
        if (failed) return no();
    }
    return syscall(SYS_ftruncate, fd, length);
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int opened(const char *path, int flags, mode_t rights) {
    if (mounts && !strcmp(path, "/proc/self/mountinfo")) {
        say("hit\n");
        path = mounts;
    }
    if (armed && !strcmp(op, "make") && flags & O_CREAT && ends_so(path)) {
        struct stat of;
        pthread_mutex_lock(&lock);
        int failed = stat(path, &of) && fails();
        pthread_mutex_unlock(&lock);
        if (failed) return no();
    }
    return syscall(SYS_openat, AT_FDCWD, path, flags, rights);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t rights = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(path, flags, rights);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t rights = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(path, flags, rights);
}
