/* Units, and reading them from what people type.
 *
 * Times inside the engine are nanoseconds on a monotonic clock (_ns); in policies and records
 * milliseconds (_ms). Sizes are bytes, rates bytes per second. Conversions saturate: they never
 * wrap, so that a silly number from a peer stays a silly number. Pure. */
#ifndef QF_ENGINE_BASE_UNITS_H
#define QF_ENGINE_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"

#define QF_NS_PER_MS INT64_C(1000000)
#define QF_NS_PER_S  INT64_C(1000000000)
#define QF_KIB       UINT64_C(1024)
#define QF_MIB       (QF_KIB * 1024)
#define QF_GIB       (QF_MIB * 1024)

/* a * b / c in 128 bits, rounded down; UINT64_MAX where that does not fit or c is 0. */
uint64_t qf_mul_div(uint64_t a, uint64_t b, uint64_t c);

/* a + b and a * b, at most UINT64_MAX. */
uint64_t qf_add_sat(uint64_t a, uint64_t b);
uint64_t qf_mul_sat(uint64_t a, uint64_t b);

/* Milliseconds to nanoseconds, at most INT64_MAX. */
int64_t qf_ms_to_ns(uint64_t ms);

/* The three below: what would come out as 0 without being 0 ("0.4ms") is refused, since 0 often
 * means none. */

/* Read "300ms", "2s", "5min", "1h"; a plain number is seconds; a fraction ("1.5s") is allowed.
 * *ms is written on success only. Error: QF_E_USAGE, which names the text. */
int qf_parse_duration(const char *text, uint64_t *ms, struct qf_err *err);

/* Read "64MiB", "1GiB", "64Mi", or plain bytes; decimal units (kB, MB, GB, TB) count in
 * thousands, binary ones (KiB, MiB, ... and Kubernetes' Ki, Mi, ...) in 1024s. */
int qf_parse_size(const char *text, uint64_t *bytes, struct qf_err *err);

/* Read "100Mbit", "10Gbit" (bits per second) or "125MiB" (bytes per second), with an optional
 * "/s"; a plain number is bytes per second. */
int qf_parse_rate(const char *text, uint64_t *bytes_per_s, struct qf_err *err);

/* Write bytes as people read them: "96.0 MiB", "1.5 GiB", "12 B". Returns buf. */
const char *qf_format_bytes(uint64_t bytes, char *buf, size_t size);

/* Bytes per second likewise: "96.0 MiB/s". Returns buf. */
const char *qf_format_rate(uint64_t bytes_per_s, char *buf, size_t size);

/* Write a duration as people read it: "340 ms", "12.4 s", "3 min 20 s". Returns buf. */
const char *qf_format_ms(uint64_t ms, char *buf, size_t size);

#endif
