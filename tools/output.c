#include "tools/output.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

enum {
    QUEUE_MAX = 4 * 1024 * 1024, /* bytes that wait; more are dropped */
    STREAM_BUFFER = 64 * 1024
};

#define RESULT "\"type\":\"result\""

struct chunk {
    struct chunk *next;
    int fd;
    size_t len;
    char data[];
};

struct stream {
    struct output *owner;
    FILE *file;
    int fd;
};

struct output {
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t cond;
    struct chunk *first;
    struct chunk **last;
    size_t bytes;
    unsigned long dropped;
    bool closing;
    struct stream stream[2];
};

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        const ssize_t n = write(fd, data, len);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) { /* somebody else made it non-blocking */
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            (void)poll(&p, 1, -1);
        } else if (n < 0 && errno != EINTR) {
            return; /* nobody reads any more */
        }
    }
}

static void say_dropped(unsigned long n)
{
    char text[128];
    const int len =
        snprintf(text, sizeof(text),
                 "qferry: warning: output was not read: %lu lines were dropped\n", n);
    write_all(STDERR_FILENO, text, (size_t)len);
}

static void run(void *arg)
{
    struct output *o = arg;
    uv_mutex_lock(&o->mutex);
    for (;;) {
        while (!o->first && !o->closing)
            uv_cond_wait(&o->cond, &o->mutex);
        struct chunk *c = o->first;
        if (!c)
            break;
        o->first = c->next;
        if (!o->first)
            o->last = &o->first;
        uv_mutex_unlock(&o->mutex);
        write_all(c->fd, c->data, c->len);
        uv_mutex_lock(&o->mutex);
        o->bytes -= c->len;
        const unsigned long dropped = o->first ? 0 : o->dropped;
        o->dropped -= dropped;
        free(c);
        if (dropped > 0) {
            uv_mutex_unlock(&o->mutex);
            say_dropped(dropped);
            uv_mutex_lock(&o->mutex);
        }
    }
    uv_mutex_unlock(&o->mutex);
}

/* fopencookie(3): what fflush hands over. */
static ssize_t take(void *cookie, const char *data, size_t len)
{
    struct stream *s = cookie;
    struct output *o = s->owner;
    struct chunk *c = malloc(sizeof(*c) + len);
    uv_mutex_lock(&o->mutex);
    /* The last line is what a program waits for: there is always room for it. */
    const bool is_result = memmem(data, len, RESULT, sizeof(RESULT) - 1) != NULL;
    if (!c || (!is_result && o->bytes + len > QUEUE_MAX)) {
        o->dropped++;
        free(c);
    } else {
        *c = (struct chunk){.fd = s->fd, .len = len};
        memcpy(c->data, data, len);
        *o->last = c;
        o->last = &c->next;
        o->bytes += len;
        uv_cond_signal(&o->cond);
    }
    uv_mutex_unlock(&o->mutex);
    return (ssize_t)len;
}

static bool open_stream(struct output *o, unsigned i, int fd)
{
    static const cookie_io_functions_t io = {.write = take};
    o->stream[i] = (struct stream){.owner = o, .fd = fd};
    o->stream[i].file = fopencookie(&o->stream[i], "w", io);
    return o->stream[i].file &&
           setvbuf(o->stream[i].file, NULL, _IOFBF, STREAM_BUFFER) == 0;
}

struct output *output_open(void)
{
    struct output *o = calloc(1, sizeof(*o));
    if (!o)
        return NULL;
    o->last = &o->first;
    (void)uv_mutex_init(&o->mutex);
    (void)uv_cond_init(&o->cond);
    if (open_stream(o, 0, STDOUT_FILENO) && open_stream(o, 1, STDERR_FILENO) &&
        uv_thread_create(&o->thread, run, o) == 0)
        return o;
    for (unsigned i = 0; i < 2; i++)
        if (o->stream[i].file)
            (void)fclose(o->stream[i].file);
    uv_cond_destroy(&o->cond);
    uv_mutex_destroy(&o->mutex);
    free(o);
    return NULL;
}

FILE *output_stdout(struct output *o)
{
    return o->stream[0].file;
}

FILE *output_stderr(struct output *o)
{
    return o->stream[1].file;
}

void output_close(struct output *o)
{
    for (unsigned i = 0; i < 2; i++)
        (void)fclose(o->stream[i].file);
    uv_mutex_lock(&o->mutex);
    o->closing = true;
    uv_cond_signal(&o->cond);
    uv_mutex_unlock(&o->mutex);
    (void)uv_thread_join(&o->thread);
    if (o->dropped > 0)
        say_dropped(o->dropped);
    uv_cond_destroy(&o->cond);
    uv_mutex_destroy(&o->mutex);
    free(o);
}
