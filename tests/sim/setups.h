/* What several of these tests share: networks and things that happen at a phase, which they give a
 * run, and their main(). */
#ifndef QF_TESTS_SIM_SETUPS_H
#define QF_TESTS_SIM_SETUPS_H

#include <check.h>

#include "sim.h"

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
