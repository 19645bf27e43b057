/* What the files of the program test_encrypt share: the fixture, what must not be left behind, and
 * moves that are encrypted. Functions assert with Check. */
#ifndef QF_TESTS_REAL_ENCRYPT_H
#define QF_TESTS_REAL_ENCRYPT_H

#include "tests/lib/certs.h"
#include "tests/real/postcopy.h"

/* About two seconds of memory: 16 MiB of it are not zero. */
#define SLOWLY "--bandwidth", "10MiB"

/* Post-copy that lasts, to this host. */
#define POSTCOPY_HERE POSTCOPY_SLOWLY, "--destination-address", "127.0.0.1"

enum { MEMORY_BYTES = 16 * 1024 * 1024 };

/* The fixture, zeroed by its setup. */
struct encrypt {
    struct world w;
    char run[LAB_PATH_MAX]; /* qferry's runtime directory */
    struct cert ca;
    char pki[LAB_PATH_MAX];      /* QEMU's certificates ... */
    char x509[LAB_PATH_MAX + 8]; /* ... as the option has them */
};

extern struct encrypt f;

/* For tcase_add_checked_fixture; watched: in a network of its own (wire.h). */
void encrypt_setup(void);
void encrypt_setup_watched(void);
void encrypt_teardown(void);

/* The cases of each file. What needs an sshd is left out where there is none. */
void encrypt_psk(Suite *s, bool has_sshd);
void encrypt_x509(Suite *s, bool has_sshd);
void encrypt_ssh(Suite *s);

/* ---- the world ---- */

/* f.pki and f.x509: a CA, a server's certificate with these names, a client's. */
void make_pki(const char *san);

/* The other host, which is this one; what qferry leaves over there comes into f.run, too. */
void start_sshd(void);

/* ---- what must not be left ---- */

/* No object of qferry's in this QEMU; besides, its settings are these. */
void expect_no_objects(struct lab_vm *vm);
void expect_clean(struct lab_vm *vm, const json_t *settings);

/* Nothing in the runtime directory. */
void expect_no_files(void);

/* No key in the journal: what looks like 32 bytes in hex. */
void expect_no_secret(const struct move *m);

/* Both are as they were found, and the guest is on the source. */
void expect_untouched(void);

/* The move is over, the guest is there: nothing is left on either side. */
void expect_moved(struct move *m);

/* ... it is not: nothing is left on the source, where the guest is. */
void expect_given_back(const struct move *m, int exit, const char *outcome);

/* ---- moves; `how` is what --encrypt gets ---- */

/* A pair, and memory moves. */
struct move *begin_encrypted(const char *how);

/* A move that is cancelled while memory moves. */
void cancelled_leaves_nothing(const char *how);

/* The same command again, the qferry before it killed, takes the move up and ends it. */
void expect_taken_up(const char *how);

/* A pair, and post-copy has begun; by_ssh: the destination's monitor is reached through ssh. */
struct move *begin_post_copy(const char *how, bool by_ssh);
void interrupt(void);
void expect_recovered(struct move *m);

#endif
