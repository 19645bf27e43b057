/* Happy path: targets of the spec -> netsel_probe_start -> on_done.
 *
 * What can fail: the loop or the probe cannot be begun (said to the caller); everything else is a
 * fact about a network. */
#include "engine/network_uv.h"

#include "engine/network.h"

int network_probe(struct netsel_probe **out,
                  uv_loop_t *loop,
                  const struct mig_spec *spec,
                  bool to_the_end,
                  netsel_probe_cb *on_done,
                  void *arg,
                  struct qf_err *err)
{
    struct netsel_target targets[NETSEL_TARGETS_MAX];
    struct netsel_wish path;
    unsigned n = 0;
    if (spec->networks.n == 0 && to_the_end) { /* it is under way, to this address */
        network_path_wish(spec, &path);
        targets[n++] = (struct netsel_target){.host = spec->address};
        return netsel_probe_start(out, loop, &path, targets, n, true, on_done, arg, err);
    }
    for (unsigned i = 0; i < spec->n_given; i++)
        targets[n++] = (struct netsel_target){.host = spec->given[i]};
    if (spec->monitor_host[0] != '\0')
        targets[n++] =
            (struct netsel_target){.host = spec->monitor_host, .is_monitor = true};
    return netsel_probe_start(out, loop, &spec->networks, targets, n, to_the_end, on_done,
                              arg, err);
}

struct survey {
    const struct mig_spec *spec;
    struct netsel_choice *choice;
};

static void on_surveyed(struct netsel_probe *p, const struct netsel_facts *facts, void *arg)
{
    struct survey *s = arg;
    netsel_choose(&s->spec->networks, facts, s->choice);
    netsel_probe_close(p, NULL, NULL);
}

int network_survey(const struct mig_spec *spec,
                   const struct policy *p,
                   struct netsel_choice *c,
                   struct record *r,
                   struct qf_err *err)
{
    struct survey s = {.spec = spec, .choice = c};
    struct netsel_probe *probe;
    uv_loop_t loop;
    int rc = uv_loop_init(&loop);
    if (rc != 0)
        return qf_fail(err, QF_E_INTERNAL, "event loop: %s", uv_strerror(rc));
    rc = network_probe(&probe, &loop, spec, true, on_surveyed, &s, err);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    if (rc != 0)
        return rc;
    r->kind = RECORD_NETWORK;
    network_tell(spec, p, c, &r->u.network);
    return c->chosen >= 0 ? 0 : qf_fail(err, QF_E_REFUSED, "%s", c->reason);
}
