/* Errors: a code that a program can act on and one sentence that a person can.
 *
 * A function that can fail returns 0 or a negative code (-(int)QF_E...) and takes `struct
 * qf_err *err` as its last argument: the caller's, fixed size, untouched on success. Reporting
 * an error never allocates. Say it where it happens (qf_fail), add context on the way up
 * (qf_wrap), print it once at the top. Object before cause: `dst: migrate-incoming: address
 * already in use`. err may be NULL where only the code matters.
 *
 * Everybody may include this; it knows nothing of qferry but its exit statuses. */
#ifndef QF_ENGINE_BASE_ERR_H
#define QF_ENGINE_BASE_ERR_H

/* Code, exit status (see qferry(1)), what the code means. The one table of both. */
#define QF_CODES(X)                             \
    X(OK, 0, "success")                         \
    X(INTERNAL, 1, "internal error")            \
    X(NOMEM, 1, "out of memory")                \
    X(IO, 1, "input or output failed")          \
    X(USAGE, 2, "wrong usage or configuration") \
    X(REFUSED, 3, "refused by a check")         \
    X(GAVE_UP, 4, "given up")                   \
    X(QMP, 4, "refused by QEMU")                \
    X(TIMEOUT, 4, "no answer in time")          \
    X(LOST, 4, "connection lost")               \
    X(CANCELLED, 5, "cancelled")                \
    X(UNREACHABLE, 6, "cannot be reached")      \
    X(PROTO, 6, "does not speak QMP")           \
    X(HELD, 7, "a person must look")

enum qf_code {
#define QF_CODE_ENUM(name, status, text) QF_E_##name,
    QF_CODES(QF_CODE_ENUM)
#undef QF_CODE_ENUM
};

enum {
    QF_ERR_TEXT = 512 /* longer sentences are cut, never split inside a UTF-8 character */
};

struct qf_err {
    enum qf_code code;
    char text[QF_ERR_TEXT];
};

#if defined(__GNUC__)
#define QF_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define QF_PRINTF(fmt, args)
#endif

/* Set *err to code and the formatted sentence (no final full stop, no newline). Returns
 * -(int)code, so that `return qf_fail(err, ...)` reads well. */
int qf_fail(struct qf_err *err, enum qf_code code, const char *fmt, ...) QF_PRINTF(3, 4);

/* Put "context: " in front of err's sentence; the code stays. Returns -(int)err->code. */
int qf_wrap(struct qf_err *err, const char *fmt, ...) QF_PRINTF(2, 3);

/* What a code means, as text that lives for ever. */
const char *qf_code_text(enum qf_code code);

/* The exit status of a code; see qferry(1). */
int qf_code_status(enum qf_code code);

#endif
