/* Guest and link. Rates are constant between two changes (a phase, a change of the link, a new
 * draw of the noise), so that any stretch between changes is one formula. */
#include "policy/model_world.h"

#include "engine/base/units.h"

enum {
    NOISE_MS = 1000,
    SEGMENT_BYTES = 1460 /* of TCP over Ethernet */
};

/* ---- arithmetic ---- */

/* Taylor's series near 0, then squared as often as x was halved. */
double policy_model_decay(double x)
{
    unsigned halved = 0;
    if (x > 700)
        return 0;
    for (; x > 0.01; x /= 2)
        halved++;
    double y = 1 - x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5))));
    for (; halved > 0; halved--)
        y *= y;
    return y;
}

/* splitmix64 (Steele, Lea, Flood, 2014) */
static uint64_t draw(struct policy_model *m)
{
    uint64_t z = (m->random += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* 1 on average, with this standard deviation; never below a tenth. A sum of uniform numbers is
 * near enough to the normal distribution. */
static double draw_factor(struct policy_model *m, uint32_t percent)
{
    double sum = -6;
    if (percent == 0)
        return 1;
    for (int i = 0; i < 12; i++)
        sum += (double)(draw(m) >> 11) / 9007199254740992.0;
    const double factor = 1 + sum * percent / 100;
    return factor < 0.1 ? 0.1 : factor;
}

static uint64_t square_root(uint64_t n)
{
    uint64_t low = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit > 0; bit >>= 1)
        if ((low + bit) * (low + bit) <= n)
            low += bit;
    return low;
}

/* ---- the guest ---- */

static uint64_t cycle_ms(const struct policy_model_guest *g)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < g->n_phases; i++)
        sum += g->phases[i].for_ms;
    return sum;
}

/* The phase of now, and when it ends (since `migrate`); NULL: there are none. */
static const struct policy_model_phase *phase_now(const struct policy_model *m,
                                                  int64_t *ends_ns)
{
    const struct policy_model_guest *g = &m->spec->guest;
    const int64_t cycle_ns = qf_ms_to_ns(cycle_ms(g));
    int64_t at_ns = m->now_ns + m->offset_ns;
    *ends_ns = INT64_MAX;
    if (g->n_phases == 0 || cycle_ns == 0)
        return NULL;
    if (g->repeats)
        at_ns %= cycle_ns;
    for (uint32_t i = 0; i < g->n_phases; i++) {
        const int64_t for_ns = qf_ms_to_ns(g->phases[i].for_ms);
        if (at_ns < for_ns) {
            *ends_ns = m->now_ns + for_ns - at_ns;
            return &g->phases[i];
        }
        at_ns -= for_ns;
    }
    return &g->phases[g->n_phases - 1];
}

void policy_model_world_init(struct policy_model *m, uint64_t seed)
{
    const struct policy_model_guest *g = &m->spec->guest;
    const uint64_t cycle = cycle_ms(g);
    m->random = seed;
    m->offset_ns =
        qf_ms_to_ns(g->starts_anywhere && cycle > 0 ? draw(m) % cycle : g->start_ms);
    m->noise_until_ns = 0;
    m->noise_link = 1;
    for (uint32_t i = 0; i < g->n_sets; i++)
        m->noise_set[i] = 1;
    policy_model_world_noise(m);
}

void policy_model_world_noise(struct policy_model *m)
{
    const struct policy_model_guest *g = &m->spec->guest;
    if (g->noise_percent == 0 && m->spec->link.noise_percent == 0)
        m->noise_until_ns = INT64_MAX;
    if (m->now_ns < m->noise_until_ns)
        return;
    for (uint32_t i = 0; i < g->n_sets; i++)
        m->noise_set[i] = draw_factor(m, g->noise_percent);
    m->noise_link = draw_factor(m, m->spec->link.noise_percent);
    m->noise_until_ns = m->now_ns + NOISE_MS * QF_NS_PER_MS;
}

double policy_model_write_rate(const struct policy_model *m, uint32_t i)
{
    int64_t ends_ns;
    const struct policy_model_phase *phase = phase_now(m, &ends_ns);
    const double factor = phase ? phase->factor_permille[i] / 1000.0 : 1;
    return (double)m->spec->guest.sets[i].writes_bytes_per_s * factor * m->noise_set[i];
}

double policy_model_speed(const struct policy_model *m)
{
    const uint32_t busy = m->spec->guest.busy_percent;
    const uint32_t left = m->throttle_percent < 100 ? 100 - m->throttle_percent : 0;
    if (m->stopped)
        return 0;
    return busy == 0 || left >= busy ? 1 : (double)left / busy;
}

double policy_model_coverage(const struct policy_model *m, uint32_t i, double ns)
{
    const struct policy_model_set *set = &m->spec->guest.sets[i];
    const double turns =
        set->bytes > 0 ? policy_model_write_rate(m, i) * ns / 1e9 / (double)set->bytes : 0;
    if (set->pattern == POLICY_MODEL_SWEEP)
        return turns < 1 ? turns : 1;
    return 1 - policy_model_decay(turns);
}

void policy_model_world_run(struct policy_model *m, int64_t ns)
{
    const double guest_ns = (double)ns * policy_model_speed(m);
    for (uint32_t i = 0; i < m->spec->guest.n_sets && guest_ns > 0; i++) {
        const double more = policy_model_coverage(m, i, guest_ns);
        double *written = &m->written[i];
        if (m->spec->guest.sets[i].pattern == POLICY_MODEL_SWEEP)
            *written = *written + more < 1 ? *written + more : 1;
        else
            *written = 1 - (1 - *written) * (1 - more);
    }
}

/* ---- the link ---- */

/* Where in the link's own cycle now is, in ns. */
static int64_t link_time_ns(const struct policy_model *m)
{
    const int64_t repeat_ns = qf_ms_to_ns(m->spec->link.repeat_ms);
    return repeat_ns > 0 ? m->now_ns % repeat_ns : m->now_ns;
}

/* What TCP makes of a link that loses packets (Mathis and others, 1997): 1.22 segments a round
 * trip by the square root of the loss. */
static double lossy_rate(const struct policy_model_link *l, double rate)
{
    const uint64_t root = square_root((uint64_t)l->loss_ppm * 1000000);
    if (l->loss_ppm == 0 || l->latency_ns == 0 || root == 0)
        return rate;
    const double most =
        1.22 * SEGMENT_BYTES * 1e9 / (double)l->latency_ns * 1e6 / (double)root;
    return most < rate ? most : rate;
}

double policy_model_link_rate(const struct policy_model *m)
{
    const struct policy_model_link *l = &m->spec->link;
    const int64_t at_ns = link_time_ns(m);
    uint64_t rate = l->rate_bytes_per_s;
    for (uint32_t i = 0; i < l->n_changes; i++)
        if (at_ns >= qf_ms_to_ns(l->changes[i].at_ms))
            rate = l->changes[i].rate_bytes_per_s;
    for (uint32_t i = 0; i < l->n_drops; i++) {
        const int64_t from_ns = qf_ms_to_ns(l->drops[i].at_ms);
        if (at_ns >= from_ns && at_ns - from_ns < qf_ms_to_ns(l->drops[i].for_ms))
            return 0;
    }
    return lossy_rate(l, (double)rate) * m->noise_link;
}

static void sooner(int64_t *next_ns, int64_t now_ns, int64_t in_ns)
{
    if (in_ns > 0 && in_ns < *next_ns - now_ns)
        *next_ns = now_ns + in_ns;
}

int64_t policy_model_world_change(const struct policy_model *m)
{
    const struct policy_model_link *l = &m->spec->link;
    const int64_t at_ns = link_time_ns(m);
    int64_t next_ns;
    (void)phase_now(m, &next_ns);
    if (m->noise_until_ns < next_ns)
        next_ns = m->noise_until_ns;
    for (uint32_t i = 0; i < l->n_changes; i++)
        sooner(&next_ns, m->now_ns, qf_ms_to_ns(l->changes[i].at_ms) - at_ns);
    for (uint32_t i = 0; i < l->n_drops; i++) {
        const int64_t from_ns = qf_ms_to_ns(l->drops[i].at_ms);
        sooner(&next_ns, m->now_ns, from_ns - at_ns);
        sooner(&next_ns, m->now_ns, from_ns + qf_ms_to_ns(l->drops[i].for_ms) - at_ns);
    }
    if (l->repeat_ms > 0)
        sooner(&next_ns, m->now_ns, qf_ms_to_ns(l->repeat_ms) - at_ns);
    return next_ns;
}
