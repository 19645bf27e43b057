/* CONFIGURE: both ends agree before guest memory moves. Destination first: it must be ready for
 * what comes. Every value that is changed is remembered as it was found, and put back when the
 * migration is rolled back, and on both sides after its end.
 *
 * The destination is told to `stop` while it is still in inmigrate: a destination without -S
 * would otherwise start by itself at the end of the load, and a lost acknowledgement would then
 * make two running guests (fact sheet 0, rule 1). With -S it changes nothing. It cannot be asked
 * which of both it was, so it is not taken back: a destination that was touched by qferry starts
 * the guest on nobody's word but qferry's. With --self-start a mark in the source says so before
 * memory moves; what that forbids later is in owner.c. */
#include <stdio.h>
#include <string.h>

#include "engine/configure_priv.h"

/* With --self-start it is left as it is. It is not told to `cont`: before it looks at its state, 7.2
 * opens its disks at that, while the source writes to them (lab 2026-11-22: what is written until the
 * switch is not there afterwards, where no lock forbids it). */
static bool ask_stop(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)side;
    cmd->command = QAPI_STOP;
    return !m->self_start;
}

static bool ask_listen(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)side;
    const struct mig_spec *spec = &m->spec;
    const char *tunnel = mig_secure_uri(m, MIG_DST);
    if (m->listens) {
        m->incoming_asked = true;
        return false;
    }
    char *uri = cmd->u.migrate.uri;
    char port[24];
    cmd->command = QAPI_MIGRATE_INCOMING;
    cmd->u.migrate.stay_on_error = !m->incoming_plain;
    if (tunnel)
        (void)snprintf(uri, sizeof(cmd->u.migrate.uri), "%s", tunnel);
    else if (spec->port_last > spec->port_first)
        (void)snprintf(port, sizeof(port), "%u,to=%u", spec->port_first, spec->port_last);
    else
        (void)snprintf(port, sizeof(port), "%u", spec->port_first);
    if (!tunnel)
        mig_write_tcp(uri, spec->address, port);
    m->incoming_asked = true;
    return true;
}

/* exit-on-error (since 9.1) lets a failed destination live on, to be asked why. An older QEMU
 * refuses the argument before it does anything ("Parameter 'exit-on-error' is unexpected",
 * verified 7.2), so asking is the detection. */
static int hear_listen(struct mig *m,
                       enum mig_side_id side,
                       const struct qapi_reply *r,
                       struct mig_todo *todo)
{
    (void)todo;
    if (!r->refused)
        return 0;
    if (!m->incoming_plain && strstr(r->error_desc, "exit-on-error")) {
        m->incoming_plain = true;
        return 0;
    }
    /* No such address there, no free port: what was asked for cannot be had, and what was set is put
     * back. A refused listen leaves the destination as it was (7.2). */
    char ports[32] = "";
    if (m->spec.port_last > m->spec.port_first)
        (void)snprintf(ports, sizeof(ports), ", ports %u to %u", m->spec.port_first,
                       m->spec.port_last);
    else if (m->spec.port_first != 0)
        (void)snprintf(ports, sizeof(ports), ", port %u", m->spec.port_first);
    const char *tunnel = mig_secure_uri(m, MIG_DST);
    mig_fail(m, OUTCOME_REFUSED, QF_E_REFUSED, "%s: migrate-incoming on %s%s: %s",
             mig_side_name(side), tunnel ? tunnel : m->spec.address, tunnel ? "" : ports,
             r->error_desc);
    return -1;
}

static bool ask_listen_plain(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    return m->incoming_plain && ask_listen(m, side, cmd);
}

static bool ask_port(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd)
{
    (void)m;
    (void)side;
    cmd->command = QAPI_QUERY_MIGRATE;
    return true;
}

static int hear_port(struct mig *m,
                     enum mig_side_id side,
                     const struct qapi_reply *r,
                     struct mig_todo *todo)
{
    (void)todo;
    const struct qapi_migrate *q = &r->u.migrate;
    const char *tunnel = mig_secure_uri(m, MIG_SRC);
    if (tunnel) {
        (void)snprintf(m->migrate_uri, sizeof(m->migrate_uri), "%s", tunnel);
        return 0;
    }
    if (r->refused || q->listen_port[0] == '\0') {
        mig_fail(m, OUTCOME_FAILED, QF_E_QMP,
                 "%s: does not say on which port it listens%s%s", mig_side_name(side),
                 r->refused ? ": " : "", r->refused ? r->error_desc : "");
        return -1;
    }
    memcpy(m->listen_port, q->listen_port, sizeof(m->listen_port));
    mig_write_tcp(m->migrate_uri, m->spec.address, q->listen_port);
    return 0;
}

/* clang-format off */
static const struct step configure[] = {
    /*name                 side     after  when  ask                            heard                       undo */
    {"stop",              MIG_DST, false, NULL, ask_stop,                      NULL,                       NULL},
    {"capabilities",      MIG_DST, false, NULL, configure_ask_caps,            configure_hear_dst_caps,    configure_undo_caps},
    {"capabilities",      MIG_DST, true,  NULL, configure_ask_dst_caps_again,  configure_hear_dst_caps,    NULL},
    {"capabilities",      MIG_DST, true,  NULL, configure_ask_dst_caps_again,  configure_hear_dst_caps,    NULL},
    {"old credentials",   MIG_DST, false, NULL, mig_ask_left_creds,            mig_hear_left_creds,        NULL},
    {"parameters",        MIG_DST, true,  NULL, configure_ask_dst_params,      configure_hear_params,      configure_undo_params},
    {"credentials",       MIG_DST, false, NULL, mig_ask_creds,                 mig_hear_creds,             mig_undo_creds},
    {"read capabilities", MIG_DST, true,  NULL, configure_ask_read_caps,       configure_hear_read_caps,   NULL},
    {"read parameters",   MIG_DST, false, NULL, configure_ask_read_dst_params, configure_hear_read_params, NULL},
    {"capabilities",      MIG_SRC, false, NULL, configure_ask_caps,            configure_hear_src_caps,    configure_undo_caps},
    {"old credentials",   MIG_SRC, false, NULL, mig_ask_left_creds,            mig_hear_left_creds,        NULL},
    {"parameters",        MIG_SRC, false, NULL, configure_ask_params,          configure_hear_params,      configure_undo_params},
    {"credentials",       MIG_SRC, false, NULL, mig_ask_creds,                 mig_hear_creds,             mig_undo_creds},
    {"read capabilities", MIG_SRC, false, NULL, configure_ask_read_caps,       configure_hear_read_caps,   NULL},
    {"read parameters",   MIG_SRC, false, NULL, configure_ask_read_params,     configure_hear_read_params, NULL},
    /* Only if the source has refused channels that the destination took: */
    {"capabilities",      MIG_DST, true,  NULL, configure_ask_dst_caps_less,   NULL,                       NULL},
    {"capabilities",      MIG_SRC, false, NULL, configure_ask_caps_once_more,  NULL,                       NULL},
    {"read capabilities", MIG_DST, false, NULL, configure_ask_read_caps_again, configure_hear_read_caps,   NULL},
    {"read capabilities", MIG_SRC, false, NULL, configure_ask_read_caps_again, configure_hear_read_caps,   NULL},
    {"listen",            MIG_DST, true,  NULL, ask_listen,                    hear_listen,                NULL},
    {"listen",            MIG_DST, true,  NULL, ask_listen_plain,              hear_listen,                NULL},
    {"port",              MIG_DST, true,  NULL, ask_port,                      hear_port,                  NULL},
};
/* clang-format on */

void configure_adopt(struct mig *m)
{
    recipe_begin(m, configure, sizeof(configure) / sizeof(configure[0]));
    m->recipe.next = m->recipe.n;
    m->recipe.begun = UINT32_MAX;
}

void configure_unwind(struct mig *m)
{
    recipe_unwind(m);
}

void phase_configure(struct mig *m, const struct mig_event *ev, struct mig_todo *todo)
{
    if (ev->kind == MIG_EV_ENTER)
        recipe_begin(m, configure, sizeof(configure) / sizeof(configure[0]));
    if (ev->kind == MIG_EV_DOWN)
        mig_fail(m, OUTCOME_FAILED, QF_E_LOST, "%s: %s", mig_side_name(ev->side),
                 ev->u.down.err.text);
    if (ev->kind == MIG_EV_LATE)
        mig_fail(m, OUTCOME_FAILED, QF_E_TIMEOUT, "the %s does not answer %s",
                 mig_side_name(ev->side), qapi_command_name(ev->u.late));
    if (m->cancel_wanted)
        mig_fail(m, OUTCOME_CANCELLED, QF_E_CANCELLED, "cancelled before memory moved");
    if (m->has_reason) {
        mig_go(m, MIG_ROLLBACK);
        return;
    }
    switch (recipe_run(m, ev, todo)) {
    case RECIPE_RUNNING:
        return;
    case RECIPE_FAILED:
        mig_go(m, MIG_ROLLBACK);
        return;
    case RECIPE_DONE:
        mig_go(m, MIG_START);
        return;
    }
}
