#include "tests/real/encrypt.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/real/pki.h"
#include "tests/real/sshd.h"
#include "tests/real/wire.h"

struct encrypt f;

/* ---- the world ---- */

void encrypt_setup(void)
{
    memset(&f, 0, sizeof(f));
    world_open(&f.w);
    lab_path(f.w.lab, "run", f.run);
    ck_assert_int_eq(mkdir(f.run, 0700), 0);
    ck_assert_int_eq(setenv("QFERRY_RUN_DIR", f.run, 1), 0);
}

void encrypt_setup_watched(void)
{
    wire_alone();
    encrypt_setup();
}

void encrypt_teardown(void)
{
    wire_close();
    (void)unsetenv("QFERRY_RUN_DIR");
    (void)unsetenv("QFERRY_SSH");
    cert_free(&f.ca);
    world_close(&f.w);
}

void make_pki(const char *san)
{
    lab_path(f.w.lab, "pki", f.pki);
    snprintf(f.x509, sizeof(f.x509), "x509:%s", f.pki);
    ck_assert_int_eq(mkdir(f.pki, 0700), 0);
    pki_ca(&f.ca, f.pki);
    pki_add(f.pki, &f.ca, "server", san, 0, 0);
    pki_add(f.pki, &f.ca, "client", NULL, 0, 0);
}

void start_sshd(void)
{
    char more[LAB_PATH_MAX + 32];
    snprintf(more, sizeof(more), "SetEnv QFERRY_RUN_DIR=%s\n", f.run);
    (void)sshd_start(&f.w, more);
}

/* ---- what must not be left ---- */

void expect_no_objects(struct lab_vm *vm)
{
    json_t *list = lab_qmp(vm, "qom-list", "{\"path\": \"/objects\"}");
    size_t i;
    json_t *one;
    ck_assert_ptr_nonnull(list);
    json_array_foreach (list, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        ck_assert_msg(strncmp(name, "qferry", 6) != 0, "%s has %s", lab_vm_name(vm), name);
    }
    json_decref(list);
}

void expect_no_files(void)
{
    ck_assert_msg(rmdir(f.run) == 0, "%s: %s", f.run, strerror(errno));
    ck_assert_int_eq(mkdir(f.run, 0700), 0);
}

void expect_clean(struct lab_vm *vm, const json_t *settings)
{
    expect_no_objects(vm);
    expect_settings(vm, settings);
}

void expect_untouched(void)
{
    char state[LAB_STATE_MAX];
    expect_clean(f.w.src, f.w.src_settings);
    expect_clean(f.w.dst, f.w.dst_settings);
    expect_no_files();
    ck_assert_int_eq(lab_run_state(f.w.dst, state), 0);
    ck_assert_str_eq(state, "inmigrate");
    expect_guest_on(&f.w, f.w.src);
}

void expect_moved(struct move *m)
{
    move_expect(m, 0, "completed", "destination");
    expect_clean(f.w.src, f.w.src_settings);
    expect_clean(f.w.dst, f.w.dst_settings);
    expect_no_files();
    expect_guest_on(&f.w, f.w.dst);
}

void expect_no_secret(const struct move *m)
{
    FILE *file = fopen(m->journal, "r");
    int c;
    unsigned row = 0;
    ck_assert_ptr_nonnull(file);
    while ((c = fgetc(file)) != EOF) {
        row = strchr("0123456789abcdef", c) ? row + 1 : 0;
        ck_assert_uint_lt(row, 64);
    }
    (void)fclose(file);
}

void expect_given_back(const struct move *m, int exit, const char *outcome)
{
    move_expect(m, exit, outcome, "source");
    expect_clean(f.w.src, f.w.src_settings);
    expect_no_files();
    expect_guest_on(&f.w, f.w.src);
}

/* ---- moves ---- */

struct move *begin_encrypted(const char *how)
{
    world_pair(&f.w, "ws=24 rate=500");
    struct move *m = move_begin(&f.w, ARGS("--encrypt", how, SLOWLY));
    move_wait_memory(m);
    return m;
}

void cancelled_leaves_nothing(const char *how)
{
    struct move *m = begin_encrypted(how);
    ck_assert_int_eq(lab_proc_signal(m->proc, SIGINT), 0);
    move_end(m);
    expect_given_back(m, 5, "cancelled");
}

void expect_taken_up(const char *how)
{
    struct move *m = move_run(&f.w, ARGS("--encrypt", how, SLOWLY));
    ck_assert(move_has(m, "warning", "message", "taking it up"));
    move_expect(m, 0, "completed", "destination");
    expect_no_objects(f.w.src);
    expect_no_objects(f.w.dst);
    expect_no_files();
    expect_guest_on(&f.w, f.w.dst);
}

struct move *begin_post_copy(const char *how, bool by_ssh)
{
    char dst[LAB_PATH_MAX + 16];
    world_pair(&f.w, "ws=24 flat");
    snprintf(dst, sizeof(dst), "%s%s", by_ssh ? "ssh:hv" : "", lab_vm_qmp_path(f.w.dst));
    struct move *m = move_begin_at(&f.w, "migrate", lab_vm_qmp_path(f.w.src), dst,
                                   ARGS("--encrypt", how, POSTCOPY_HERE));
    postcopy_wait_begun(m);
    return m;
}

void interrupt(void)
{
    json_decref(lab_qmp_oob(f.w.src, "migrate-pause", NULL));
    postcopy_wait_status(&f.w, f.w.src, "postcopy-paused");
}

void expect_recovered(struct move *m)
{
    postcopy_expect_recovered(m);
    expect_no_objects(f.w.src);
    expect_no_objects(f.w.dst);
}
