/* What tools/bench compares qferry with: the same steps on two monitors, and nothing else. No
 * checks, no policy, no journal, no second thoughts; the first surprise ends it. Not to be used
 * on a guest that somebody needs.
 *
 *   plain SOURCE DESTINATION BYTES_PER_S DOWNTIME_MS
 *
 * It blocks, but on both monitors at once, and answers an event at once: nothing that is written
 * over QMP can be quicker by more than its own few instructions. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 65536 };

struct monitor {
    const char *name;
    int fd;
    size_t used;
    bool switching; /* seen: pre-switchover */
    bool completed; /* seen: completed */
    bool answered;  /* to the last command */
    char answer[LINE_MAX_BYTES];
    char in[LINE_MAX_BYTES];
};

static struct monitor src = {.name = "source"};
static struct monitor dst = {.name = "destination"};

__attribute__((noreturn)) static void die(const struct monitor *m, const char *what)
{
    fprintf(stderr, "plain: %s: %s\n", m->name, what);
    exit(1);
}

static void take_line(struct monitor *m, const char *line)
{
    if (strstr(line, "\"event\"")) {
        m->switching |= strstr(line, "\"pre-switchover\"") != NULL;
        m->completed |= strstr(line, "\"completed\"") != NULL;
        if (strstr(line, "\"failed\"")) {
            die(m, line);
        }
    } else if (strstr(line, "\"error\"")) {
        die(m, line);
    } else {
        m->answered = true;
        snprintf(m->answer, sizeof(m->answer), "%s", line);
    }
}

static void take_input(struct monitor *m)
{
    const ssize_t n = read(m->fd, m->in + m->used, sizeof(m->in) - m->used);
    char *end;

    if (n <= 0) {
        die(m, n < 0 ? strerror(errno) : "the monitor is closed");
    }
    m->used += (size_t)n;
    while ((end = memchr(m->in, '\n', m->used))) {
        *end = '\0';
        take_line(m, m->in);
        m->used -= (size_t)(end + 1 - m->in);
        memmove(m->in, end + 1, m->used);
    }
    if (m->used == sizeof(m->in)) {
        die(m, "a line that is too long");
    }
}

static void wait_for(const bool *what)
{
    while (!*what) {
        struct pollfd fds[] = {{.fd = src.fd, .events = POLLIN},
                               {.fd = dst.fd, .events = POLLIN}};

        if (poll(fds, 2, -1) < 0) {
            die(&src, strerror(errno));
        }
        if (fds[0].revents) {
            take_input(&src);
        }
        if (fds[1].revents) {
            take_input(&dst);
        }
    }
}

__attribute__((format(printf, 2, 3))) static void ask(struct monitor *m,
                                                      const char *format,
                                                      ...)
{
    char text[1024];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    m->answered = false;
    if (write(m->fd, text, (size_t)n) != n) {
        die(m, strerror(errno));
    }
    wait_for(&m->answered);
}

static void reach(struct monitor *m, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    m->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (m->fd < 0 || connect(m->fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
        die(m, strerror(errno));
    }
}

#define CAP(name) "{\"capability\":\"" name "\",\"state\":true}"
#define CAPS(list)                                                                     \
    "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":[" list \
    "]}}\n"

static void set_up(const char *bytes_per_s, const char *downtime_ms)
{
    wait_for(&src.answered); /* the greetings */
    wait_for(&dst.answered);
    ask(&src, "{\"execute\":\"qmp_capabilities\"}\n");
    ask(&dst, "{\"execute\":\"qmp_capabilities\"}\n");
    ask(&dst, CAPS(CAP("events") "," CAP("return-path") "," CAP("late-block-activate")));
    ask(&src,
        CAPS(CAP("events") "," CAP("return-path") "," CAP("pause-before-switchover")));
    ask(&src,
        "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":%s,"
        "\"downtime-limit\":%s}}\n",
        bytes_per_s, downtime_ms);
}

static void start(void)
{
    const char *port;

    ask(&dst,
        "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"tcp:127.0.0.1:0\"}}\n");
    ask(&dst, "{\"execute\":\"query-migrate\"}\n");
    port = strstr(dst.answer, "\"port\": \"");
    if (!port) {
        die(&dst, dst.answer);
    }
    ask(&src, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:127.0.0.1:%d\"}}\n",
        atoi(port + strlen("\"port\": \"")));
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: plain SOURCE DESTINATION BYTES_PER_S DOWNTIME_MS\n", stderr);
        return 2;
    }
    reach(&src, argv[1]);
    reach(&dst, argv[2]);
    set_up(argv[3], argv[4]);
    start();
    wait_for(&src.switching);
    ask(&src,
        "{\"execute\":\"migrate-continue\",\"arguments\":{\"state\":\"pre-switchover\"}}\n");
    wait_for(&src.completed);
    wait_for(&dst.completed);
    ask(&dst, "{\"execute\":\"cont\"}\n");
    return 0;
}
