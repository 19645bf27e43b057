/* A destination that listens already: which moves may be made to it as it is. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "engine/mig_priv.h"

static struct fixture {
    struct mig m;
    struct mig_todo todo;
} f;

/* Both sides offer channels; the destination listens. */
static void begin(const char *address, const char *host, const char *port)
{
    struct mig_spec spec = {.source = "/s", .destination = "/d"};
    const struct policy policy = {.name = "test"};
    (void)snprintf(spec.address, sizeof(spec.address), "%s", address);
    memset(&f, 0, sizeof(f));
    mig_init(&f.m, &spec, &policy);
    f.m.phase = MIG_PREFLIGHT;
    for (unsigned i = 0; i < MIG_SIDES; i++) {
        f.m.side[i].link = MIG_LINK_UP;
        f.m.side[i].caps_found.offered = QAPI_CAP_BIT(MULTIFD);
        f.m.side[i].params_found.has = 1U << QAPI_PARAM_MULTIFD_CHANNELS;
        f.m.side[i].params_found.value[QAPI_PARAM_MULTIFD_CHANNELS] = 2;
    }
    struct mig_side *dst = &f.m.side[MIG_DST];
    dst->run = QAPI_RUN_INMIGRATE;
    dst->migrate.status = QAPI_MIG_SETUP;
    (void)snprintf(dst->migrate.listen_host, sizeof(dst->migrate.listen_host), "%s", host);
    (void)snprintf(dst->migrate.listen_port, sizeof(dst->migrate.listen_port), "%s", port);
    f.m.listens = mig_is_listening(&f.m);
    ck_assert(f.m.listens);
}

/* NULL: it is taken. */
static void expect(const char *refusal)
{
    preflight_check_listening(&f.m);
    ck_assert_msg(f.m.has_reason == (refusal != NULL), "%s", f.m.reason);
    if (refusal)
        ck_assert_msg(strstr(f.m.reason, refusal), "%s", f.m.reason);
}

static const struct {
    const char *address;
    const char *host;
    const char *refusal;
} hosts[] = {
    {"192.0.2.7", "192.0.2.7", NULL},
    {"192.0.2.8", "192.0.2.7", "on 192.0.2.7 and not on 192.0.2.8"},
    {"192.0.2.7", "0.0.0.0", NULL},
    {"192.0.2.7", "::", NULL},
    {"2001:db8::7", "::", NULL},
    {"2001:db8::7", "0.0.0.0", "on 0.0.0.0 and not on 2001:db8::7"},
    {"2001:db8::7", "2001:db8:0::7", NULL}, /* the same one, written otherwise */
    {"2001:db8::8", "2001:db8::7", "on 2001:db8::7 and not on 2001:db8::8"},
    {"hv2.example", "192.0.2.7", NULL}, /* the source's QEMU resolves it */
};

START_TEST(it_must_be_reached_at_the_address)
{
    begin(hosts[_i].address, hosts[_i].host, "49152");
    expect(hosts[_i].refusal);
}
END_TEST

START_TEST(its_port_must_be_one_of_those_allowed)
{
    static const struct {
        uint16_t first;
        uint16_t last;
        const char *port;
        bool ok;
    } table[] = {
        {0, 0, "49152", true},          {49152, 49152, "49152", true},
        {49153, 49153, "49152", false}, {49100, 49200, "49152", true},
        {49100, 49151, "49152", false}, {1, 65535, "65535", true},
    };
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        begin("192.0.2.7", "192.0.2.7", table[i].port);
        f.m.spec.port_first = table[i].first;
        f.m.spec.port_last = table[i].last;
        expect(table[i].ok ? NULL : "on port 49152 and not as --port says");
    }
}
END_TEST

START_TEST(it_is_in_no_tunnel)
{
    begin("127.0.0.1", "127.0.0.1", "49152");
    f.m.spec.encrypt = SPEC_ENCRYPT_SSH;
    expect("not in the tunnel");
    begin("127.0.0.1", "127.0.0.1", "49152");
    f.m.spec.encrypt = SPEC_ENCRYPT_PSK;
    expect(NULL);
}
END_TEST

static const char *message_of(const char *check)
{
    for (unsigned i = 0; i < f.todo.n; i++) {
        const struct record *r = &f.todo.item[i].u.record;
        if (f.todo.item[i].kind == MIG_DO_RECORD && r->kind == RECORD_CHECK &&
            strcmp(r->u.check.name, check) == 0)
            return r->u.check.message;
    }
    return "";
}

/* As a killed qferry has left it: for channels, so for channels only, and for as many. */
START_TEST(what_it_was_set_for_stays)
{
    static const struct {
        bool left;
        unsigned channels;
        const char *refusal;
    } table[] = {
        {false, 0, NULL},
        {false, 4, "must know of them before that"},
        {true, 4, NULL},
        {true, 3, "must know of them before that"},
        {true, 0, "for several channels"},
    };
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        begin("192.0.2.7", "192.0.2.7", "49152");
        struct mig_side *dst = &f.m.side[MIG_DST];
        if (table[i].left) {
            dst->caps_left = QAPI_CAP_BIT(MULTIFD);
            dst->params_left = 1U << QAPI_PARAM_MULTIFD_CHANNELS;
            dst->param_set[QAPI_PARAM_MULTIFD_CHANNELS] = 4;
        }
        f.m.spec.channels_said = true;
        f.m.spec.channels = table[i].channels;
        preflight_judge(&f.m, &f.todo);
        f.m.has_reason = false; /* what else preflight thinks of these two */
        preflight_check_listening(&f.m);
        const char *said = f.m.has_reason ? f.m.reason : message_of("channels");
        const char *wanted = table[i].refusal ? table[i].refusal : "as asked for";
        ck_assert_msg(strstr(said, wanted), "%u: %s", i, said);
        ck_assert_msg(table[i].refusal || !strstr(said, "listens"), "%u: %s", i, said);
    }
}
END_TEST

START_TEST(one_that_does_not_listen_is_not_asked)
{
    begin("192.0.2.8", "192.0.2.7", "49152");
    f.m.listens = false;
    expect(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listening");
    TCase *t = tcase_create("listening");
    tcase_add_loop_test(t, it_must_be_reached_at_the_address, 0,
                        sizeof(hosts) / sizeof(hosts[0]));
    tcase_add_test(t, its_port_must_be_one_of_those_allowed);
    tcase_add_test(t, it_is_in_no_tunnel);
    tcase_add_test(t, what_it_was_set_for_stays);
    tcase_add_test(t, one_that_does_not_listen_is_not_asked);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
