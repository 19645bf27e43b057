/* What the engine believes of QEMU, one test a belief, against the QEMU of each side: QFERRY_QEMU_SRC
 * and QFERRY_QEMU_DST, see tests/real/README.md. qferry has no part in it. Each prints what was seen on
 * which versions. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/real/move.h"

enum { ENDS_MS = 20 * 1000, EARLY_GUESTS = 8, EARLY_MS = 20 };

static struct fixture {
    struct world w;
    char uri[64];
} f;

static void setup(void)
{
    world_open(&f.w);
}

static void teardown(void)
{
    world_close(&f.w);
}

/* The version of a QEMU that may be dead by now. */
static void version(const struct lab_vm *vm, char out[16])
{
    static const int known[][2] = {{11, 2}, {11, 1}, {11, 0}, {10, 0},
                                   {9, 0},  {8, 0},  {7, 2}};

    snprintf(out, 16, "?");
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (lab_vm_is(vm, known[i][0], known[i][1])) {
            snprintf(out, 16, "%d.%d", known[i][0], known[i][1]);
            return;
        }
}

#define SEEN(what) seen(__func__, what)
static void seen(const char *fact, const char *what)
{
    char src[16];
    char dst[16];

    version(f.w.src, src);
    version(f.w.dst, dst);
    printf("%s to %s: %.*s: %s\n", src, dst, (int)(strlen(fact) - strlen("_fn")), fact,
           what);
    (void)fflush(stdout);
}

/* src: a guest that has booted; dst: waits, without -S. */
static void pair(const char *append,
                 const char *const *src_extra,
                 const char *const *dst_extra)
{
    f.w.src = world_vm(&f.w, &(struct lab_vm_opts){.append = append, .extra = src_extra});
    f.w.dst = world_vm(&f.w, &(struct lab_vm_opts){
                                 .append = append, .incoming = true, .extra = dst_extra});
    ck_assert_int_eq(lab_guest_ready(f.w.src), 0);
}

static void take(struct lab_vm *vm, const char *const *capabilities)
{
    for (unsigned i = 0; capabilities[i]; i++)
        ck_assert_int_eq(
            lab_qmp_ok(vm, "migrate-set-capabilities",
                       "{\"capabilities\": [{\"capability\": \"%s\", \"state\": true}]}",
                       capabilities[i]),
            0);
}

static void limit(const char *parameter, unsigned mib)
{
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "migrate-set-parameters", "{\"%s\": %u}",
                                parameter, mib * 1024 * 1024),
                     0);
}

static void start(void)
{
    ck_assert_int_eq(lab_vm_listen(f.w.dst, f.uri, sizeof(f.uri)), 0);
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "migrate", "{\"uri\": \"%s\"}", f.uri), 0);
}

/* Until its migration is over; how it ended. */
static void wait_for_end(struct lab_vm *vm, char status[LAB_STATE_MAX])
{
    const int64_t until_ns = lab_now_ns() + ENDS_MS * INT64_C(1000000);

    do {
        lab_pump(f.w.lab, 20);
        ck_assert_int_eq(lab_mig_status(vm, status), 0);
        if (strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 ||
            strcmp(status, "cancelled") == 0)
            return;
    } while (lab_now_ns() < until_ns);
}

static void expect_run_state(struct lab_vm *vm, const char *want)
{
    char state[LAB_STATE_MAX];

    ck_assert_int_eq(lab_run_state(vm, state), 0);
    ck_assert_str_eq(state, want);
}

/* ---- who runs ---- */

START_TEST(stop_in_inmigrate_holds_the_guest)
{
    pair("ws=8 rate=100", NULL, NULL);
    take(f.w.src, ARGS("return-path", "events"));
    take(f.w.dst, ARGS("events"));
    ck_assert_int_eq(lab_qmp_ok(f.w.dst, "stop", "{}"), 0);
    start();
    ck_assert_int_eq(lab_wait_mig_status(f.w.src, "completed", 0), 0);
    ck_assert_int_eq(lab_wait_mig_status(f.w.dst, "completed", 0), 0);
    expect_run_state(f.w.dst, "paused");
    ck_assert_ptr_null(lab_event_find(f.w.dst, "RESUME", NULL, NULL));
    SEEN("loaded, and paused");
}
END_TEST

START_TEST(a_destination_left_alone_runs_by_itself)
{
    pair("ws=8 rate=100", NULL, NULL);
    take(f.w.src, ARGS("return-path"));
    start();
    ck_assert_int_eq(lab_wait_event(f.w.dst, "RESUME", NULL, NULL, 0), 0);
    expect_run_state(f.w.dst, "running");
    SEEN("it runs without a cont");
}
END_TEST

static const char *const net_card[] = {"-device", "e1000", NULL};

/* The destination lacks a device of the source, and finds out when it loads its state. Without a return
 * path the source learns that only if it has something to write left by then. */
START_TEST(the_return_path_tells_that_the_load_failed)
{
    char status[LAB_STATE_MAX];
    char what[80];

    pair("ws=8 rate=100", net_card, NULL);
    if (_i == 1)
        take(f.w.src, ARGS("return-path"));
    start();
    wait_for_end(f.w.src, status);
    snprintf(what, sizeof(what), "%s return-path the source says %s",
             _i == 1 ? "with" : "without", status);
    SEEN(what);
    if (_i == 1) {
        ck_assert_str_eq(status, "failed");
        ck_assert_int_eq(lab_wait_run_state(f.w.src, "running", 0), 0);
    }
}
END_TEST

START_TEST(after_a_failure_query_yank_tells_when_all_is_clean)
{
    char why[256];
    unsigned asked = 0;
    bool busy;

    pair("ws=16 rate=1000", NULL, NULL);
    take(f.w.src, ARGS("return-path", "events"));
    limit("max-bandwidth", 4);
    start();
    ck_assert_int_eq(lab_wait_event(f.w.src, "MIGRATION", "status", "active", 0), 0);
    ck_assert_int_eq(lab_vm_kill(f.w.dst, SIGKILL), 0);
    ck_assert_int_eq(lab_wait_event(f.w.src, "MIGRATION", "status", "failed", 0), 0);
    do {
        json_t *instances = lab_qmp_oob(f.w.src, "query-yank", NULL);
        char *text = json_dumps(instances, JSON_COMPACT);

        busy = strstr(text, "\"migration\"") != NULL;
        asked += busy;
        free(text);
        json_decref(instances);
    } while (busy && asked < 100000);
    ck_assert(!busy);
    snprintf(why, sizeof(why), "%u times it was not when `failed` was told", asked);
    SEEN(why);
    expect_run_state(f.w.src, "running");
}
END_TEST

/* ---- what is accepted ---- */

START_TEST(a_cancel_in_postcopy)
{
    char why[256] = "accepted";

    pair("ws=48 flat", NULL, NULL);
    take(f.w.src, ARGS("postcopy-ram", "events"));
    take(f.w.dst, ARGS("postcopy-ram", "events"));
    limit("max-bandwidth", 40);
    limit("max-postcopy-bandwidth", 1);
    start();
    ck_assert_int_eq(lab_wait_event(f.w.src, "MIGRATION_PASS", NULL, NULL, 0), 0);
    ck_assert_int_eq(lab_qmp_ok(f.w.src, "migrate-start-postcopy", "{}"), 0);
    ck_assert_int_eq(lab_wait_event(f.w.src, "MIGRATION", "status", "postcopy-active", 0),
                     0);
    json_t *done = lab_qmp_try(f.w.src, "migrate_cancel", NULL, 0, why, sizeof(why));
    SEEN(why);
    ck_assert_int_eq(done != NULL, !lab_vm_is(f.w.src, 10, 0));
    json_decref(done);
}
END_TEST

START_TEST(exit_on_error_is_refused_by_name_or_keeps_the_destination)
{
    char why[256] = "accepted";

    pair("ws=8 rate=100", net_card, NULL);
    take(f.w.src, ARGS("return-path"));
    json_t *done = lab_qmp_try(f.w.dst, "migrate-incoming",
                               "{\"uri\": \"tcp:127.0.0.1:0\", \"exit-on-error\": false}",
                               0, why, sizeof(why));
    SEEN(why);
    ck_assert_int_eq(done != NULL, lab_vm_is(f.w.dst, 9, 1));
    json_decref(done);
    if (!done) {
        ck_assert_ptr_nonnull(strstr(why, "exit-on-error"));
        start(); /* refused before anything was done */
        expect_exit(f.w.dst, 1);
        return;
    }
    json_t *q = lab_qmp(f.w.dst, "query-migrate", NULL);
    const char *port = NULL;
    ck_assert_int_eq(json_unpack(q, "{s:[{s:s}]}", "socket-address", "port", &port), 0);
    ck_assert_int_eq(
        lab_qmp_ok(f.w.src, "migrate", "{\"uri\": \"tcp:127.0.0.1:%s\"}", port), 0);
    json_decref(q);
    ck_assert_int_eq(lab_wait_mig_status(f.w.dst, "failed", 0), 0);
    expect_run_state(f.w.dst, "inmigrate");
    q = lab_qmp(f.w.dst, "query-migrate", NULL);
    const char *desc = json_string_value(json_object_get(q, "error-desc"));
    SEEN(desc ? desc : "no error-desc");
    ck_assert_ptr_nonnull(desc);
    json_decref(q);
}
END_TEST

START_TEST(detach)
{
    char why[256] = "accepted";

    pair("ws=8 rate=100", NULL, NULL);
    ck_assert_int_eq(lab_vm_listen(f.w.dst, f.uri, sizeof(f.uri)), 0);
    char *args = NULL;
    ck_assert_int_gt(asprintf(&args, "{\"uri\": \"%s\", \"detach\": true}", f.uri), 0);
    json_t *done = lab_qmp_try(f.w.src, "migrate", args, 0, why, sizeof(why));
    free(args);
    SEEN(why);
    ck_assert_int_eq(done != NULL, !lab_vm_is(f.w.src, 11, 1));
    json_decref(done);
}
END_TEST

/* ---- listening ---- */

START_TEST(a_connection_kills_a_destination)
{
    struct sockaddr_in a = {.sin_family = AF_INET};

    pair("ws=8 rate=100", NULL, NULL);
    ck_assert_int_eq(lab_vm_listen(f.w.dst, f.uri, sizeof(f.uri)), 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t)atoi(strrchr(f.uri, ':') + 1));
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(close(fd), 0);
    expect_exit(f.w.dst, 1);
    SEEN("it ended with status 1");
}
END_TEST

START_TEST(a_listen_that_failed_uses_a_destination_up)
{
    char why[256] = "it may listen again";

    pair("ws=8 rate=100", NULL, NULL);
    struct lab_vm *other = world_vm(&f.w, &(struct lab_vm_opts){.incoming = true});
    ck_assert_int_eq(lab_vm_listen(other, f.uri, sizeof(f.uri)), 0);
    char *args = NULL;
    ck_assert_int_gt(asprintf(&args, "{\"uri\": \"%s\"}", f.uri), 0);
    ck_assert_ptr_null(lab_qmp_try(f.w.dst, "migrate-incoming", args, 0, why, sizeof(why)));
    free(args);
    json_t *done = lab_qmp_try(f.w.dst, "migrate-incoming",
                               "{\"uri\": \"tcp:127.0.0.1:0\"}", 0, why, sizeof(why));
    SEEN(done ? "it may listen again" : why);
    ck_assert_int_eq(done != NULL, !lab_vm_is(f.w.dst, 10, 0));
    json_decref(done);
}
END_TEST

/* ---- the counters ---- */

START_TEST(with_postcopy_allowed_a_pass_is_a_sync)
{
    char what[80];
    json_int_t syncs = 0;
    const char *const none[] = {NULL};

    pair("ws=48 flat", NULL, NULL);
    take(f.w.src, _i == 1 ? ARGS("postcopy-ram") : none);
    take(f.w.dst, _i == 1 ? ARGS("postcopy-ram") : none);
    limit("max-bandwidth", 10);
    start();
    for (json_int_t sent = 0; sent < 10 << 20; lab_pump(f.w.lab, 20)) {
        json_t *q = lab_qmp(f.w.src, "query-migrate", NULL);
        const json_t *ram = json_object_get(q, "ram");

        sent = json_integer_value(json_object_get(ram, "transferred"));
        syncs = json_integer_value(json_object_get(ram, "dirty-sync-count"));
        json_decref(q);
    }
    snprintf(what, sizeof(what), "%s postcopy-ram: %lld syncs in the first second",
             _i == 1 ? "with" : "without", (long long)syncs);
    SEEN(what);
    if (_i == 1 && lab_vm_is(f.w.src, 11, 1))
        ck_assert_int_ge(syncs, 5);
    else
        ck_assert_int_le(syncs, 2);
}
END_TEST

/* ---- faults of QEMU ---- */

static const char *const nvme_card[] = {"-device", "nvme,serial=fact", NULL};

START_TEST(an_nvme_without_a_drive_cannot_be_moved)
{
    char why[256] = "";

    pair("ws=8 rate=100", nvme_card, nvme_card);
    ck_assert_int_eq(lab_vm_listen(f.w.dst, f.uri, sizeof(f.uri)), 0);
    char *args = NULL;
    ck_assert_int_gt(asprintf(&args, "{\"uri\": \"%s\"}", f.uri), 0);
    json_t *done = lab_qmp_try(f.w.src, "migrate", args, 0, why, sizeof(why));
    free(args);
    if (!lab_vm_is(f.w.src, 11, 1)) {
        ck_assert_ptr_null(done);
        SEEN(why);
        return;
    }
    ck_assert_ptr_nonnull(done);
    json_decref(done);
    int status = 0;
    ck_assert_int_eq(lab_vm_wait_exit(f.w.src, 0, &status), 0);
    SEEN("nothing blocks it, and the source dies of a signal");
}
END_TEST

/* In the first 100 ms, to a destination that waits for its `cont` (one that runs by itself: 0 of 16);
 * qferry waits until they are over (engine/phase_precopy.c). */
START_TEST(an_early_switch_to_postcopy_keeps_memory)
{
    char what[80];
    unsigned bad = 0;

    for (unsigned i = 0; i < EARLY_GUESTS; i++) {
        world_close(&f.w);
        world_open(&f.w);
        pair("ws=24 flat", NULL, NULL);
        take(f.w.src, ARGS("postcopy-ram", "events"));
        take(f.w.dst, ARGS("postcopy-ram", "events"));
        limit("max-bandwidth", 40);
        ck_assert_int_eq(lab_qmp_ok(f.w.dst, "stop", "{}"), 0);
        start();
        ck_assert_int_eq(lab_wait_event(f.w.src, "MIGRATION", "status", "active", 0), 0);
        lab_pump(f.w.lab, EARLY_MS);
        ck_assert_int_eq(lab_qmp_ok(f.w.src, "migrate-start-postcopy", "{}"), 0);
        ck_assert_int_eq(
            lab_wait_event(f.w.src, "MIGRATION", "status", "postcopy-active", 0), 0);
        ck_assert_int_eq(lab_wait_run_state(f.w.dst, "paused", 0), 0);
        ck_assert_int_eq(lab_qmp_ok(f.w.dst, "cont", "{}"), 0);
        ck_assert_int_eq(lab_wait_mig_status(f.w.src, "completed", 0), 0);
        ck_assert_int_eq(lab_wait_mig_status(f.w.dst, "completed", 0), 0);
        bad += lab_guest_verify(f.w.dst) != 1;
    }
    snprintf(what, sizeof(what), "%u of %u guests have lost writes", bad, EARLY_GUESTS);
    SEEN(what);
    if (!lab_vm_is(f.w.src, 11, 0))
        ck_assert_uint_eq(bad, 0);
}
END_TEST

static Suite *facts_suite(void)
{
    Suite *s = suite_create("facts");
    TCase *t = tcase_create("facts");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, REAL_TIMEOUT_S);
    tcase_add_test(t, stop_in_inmigrate_holds_the_guest);
    tcase_add_test(t, a_destination_left_alone_runs_by_itself);
    tcase_add_loop_test(t, the_return_path_tells_that_the_load_failed, 0, 2);
    tcase_add_test(t, after_a_failure_query_yank_tells_when_all_is_clean);
    tcase_add_test(t, a_cancel_in_postcopy);
    tcase_add_test(t, exit_on_error_is_refused_by_name_or_keeps_the_destination);
    tcase_add_test(t, detach);
    tcase_add_test(t, a_connection_kills_a_destination);
    tcase_add_test(t, a_listen_that_failed_uses_a_destination_up);
    tcase_add_loop_test(t, with_postcopy_allowed_a_pass_is_a_sync, 0, 2);
    tcase_add_test(t, an_nvme_without_a_drive_cannot_be_moved);
    tcase_add_test(t, an_early_switch_to_postcopy_keeps_memory);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return real_main(facts_suite());
}
