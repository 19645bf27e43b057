/* What several of these tests share: small runs and what may be added to a run, networks and things that
 * happen at a phase, and their main(). */
#ifndef QF_TESTS_SIM_SETUPS_H
#define QF_TESTS_SIM_SETUPS_H

#include <check.h>

#include "sim.h"

/* Small, so that a run has few events: 32 MiB, 8 MiB of it rewritten at 3000 pages/s, no trace. */
struct sim_setup sim_small(void);

/* Both QEMUs are of this kind. */
void sim_use(struct sim_setup *u, enum model_flavour flavour);

/* What makes another kind of move of a run; the asserts are Check's. */
typedef void sim_trait(struct sim_setup *u);

sim_trait sim_on_11_1;       /* both QEMUs */
sim_trait sim_to_postcopy;   /* its guest never rests: switched to post-copy after 150 ms */
sim_trait sim_interrupted;   /* ... which is interrupted in the midst of it, by a reset */
sim_trait sim_stop_and_copy; /* by the policy */
sim_trait sim_encrypted;     /* with a key, and nothing may go in the clear */
sim_trait sim_with_channels; /* four, compressed */
sim_trait sim_from_interface; /* qferry opens the connection: it ends with it */

/* So many at most, NULL behind the last. */
enum { SIM_TRAITS_MAX = 4 };
void sim_add_traits(struct sim_setup *u, sim_trait *const traits[SIM_TRAITS_MAX]);

/* Two networks: "migration", 10.1.0.1 on m0 to 10.1.0.2, and "management", which is one by its role,
 * 10.2.0.1 on e0 to 10.2.0.2. Both are up, of unknown rate and speed, and answer a probe with a
 * refusal, found out after 3 ms. `facts` is what is found out; lent until the run is over, and may be
 * changed before it. Asserts with Check. */
void sim_two_networks(struct sim_setup *u, struct netsel_facts *facts);

/* One more doing, so long after the phase was entered first. What it needs besides may be written
 * to what is returned, before the next is added. */
struct sim_doing *sim_at_phase(struct sim_setup *u,
                               enum sim_what what,
                               enum mig_phase phase,
                               int64_t after_ns);

/* One more doing: a cancel at that time. */
void sim_cancel_at(struct sim_setup *u, int64_t t_ns);

/* Run and free the suite; the exit status. */
int sim_main(Suite *s);

#endif
