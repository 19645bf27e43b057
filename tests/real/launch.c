/* Runs one program and says what it cost. For tools/bench.
 *
 *   launch PROGRAM [ARGUMENT ...]
 *
 * Prints one line: start and end (ns, CLOCK_MONOTONIC, taken before the fork and after the end was
 * seen), the largest resident set (KiB), user and system time (us), wait status. The program's own
 * standard output goes to /dev/null.
 *
 * A program of its own because Linux counts the memory of whoever forked towards the child's
 * largest resident set: this one is so small that it does not matter. */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t us(const struct timeval *tv)
{
    return (int64_t)tv->tv_sec * 1000000 + tv->tv_usec;
}

int main(int argc, char **argv)
{
    const int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct rusage usage;
    int status;

    if (argc < 2 || null_fd < 0) {
        fputs("usage: launch PROGRAM [ARGUMENT ...]\n", stderr);
        return 2;
    }
    const int64_t start_ns = now_ns();
    const pid_t pid = fork();
    if (pid < 0) {
        perror("launch: fork");
        return 1;
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null_fd, STDIN_FILENO);
        dup2(null_fd, STDOUT_FILENO);
        execv(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    if (wait4(pid, &status, 0, &usage) != pid) {
        perror("launch: wait4");
        return 1;
    }
    printf("%" PRId64 " %" PRId64 " %ld %" PRId64 " %" PRId64 " %d\n", start_ns, now_ns(),
           usage.ru_maxrss, us(&usage.ru_utime), us(&usage.ru_stime), status);
    return 0;
}
