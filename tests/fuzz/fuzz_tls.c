/* Bytes from a peer, in pieces: never a connection, never a text, never a crash; once failed,
 * always failed. The first byte says how long the pieces are, and whether the bytes come as they
 * are (even) or change those of a real server's handshake, two by two: how far to the next one to
 * change, and with what (odd). */
#include "fuzz.h"

#include <string.h>

#include "qmp/tls.h"
#include "tests/lib/certs.h"

enum { WIRE = 16 * 1024 };

static struct {
    struct cert ca;
    struct cert server;
    struct tls_peer peer;
    struct qmp_tls_creds *creds;
} k;

static void make(void)
{
    const struct qmp_tls_pem none = {.name = "none"};
    struct qf_err err;
    cert_make(&k.ca, NULL, &(struct cert_opts){.cn = "ca", .ca = true});
    cert_make(&k.server, &k.ca,
              &(struct cert_opts){.cn = "x", .san = "DNS:hv,IP:10.0.0.1"});
    tls_peer_init(&k.peer, &(struct tls_peer_opts){.cert = &k.server});
    char *text = cert_pem(&k.ca);
    const struct qmp_tls_pem ca = {.name = "ca", .text = text, .len = strlen(text)};
    MUST(qmp_tls_creds_new(&ca, &none, &none, &k.creds, &err) == 0);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qmp_tls t;
    struct qf_err err;
    char wire[WIRE];
    char text[256];
    size_t len = 0;
    int rc = 0;
    if (!k.creds)
        make();
    if (size < 1)
        return 0;
    const size_t step = data[0] / 2 + 1U;
    const bool changes = data[0] % 2 != 0;
    MUST(qmp_tls_init(&t, k.creds, "hv", &err) == 0);
    if (changes) {
        tls_peer_again(&k.peer);
        tls_peer_feed(&k.peer, t.out.data, t.out.len);
        MUST(tls_peer_read(&k.peer, text, sizeof(text)) == 0);
        len = tls_peer_take(&k.peer, wire, sizeof(wire));
        size_t at = 0;
        for (size_t i = 1; i + 1 < size && (at += data[i]) < len; i += 2)
            wire[at] = (char)(wire[at] ^ data[i + 1]);
    } else {
        len = size - 1 < sizeof(wire) ? size - 1 : sizeof(wire);
        memcpy(wire, data + 1, len);
    }
    for (size_t i = 0; i < len && rc >= 0; i += step) {
        const size_t n = len - i < step ? len - i : step;
        MUST(qmp_tls_feed(&t, wire + i, n, &err) == 0);
        while ((rc = qmp_tls_read(&t, text, sizeof(text), &err)) > 0)
            ;
        MUST(changes || !qmp_tls_is_up(&t));
        MUST(qmp_tls_how_far(&t)[0] != '\0');
    }
    if (rc < 0) {
        MUST(err.text[0] != '\0');
        MUST(qmp_tls_read(&t, text, sizeof(text), &err) < 0);
        MUST(qmp_tls_write(&t, "x", 1, &err) == -(int)QF_E_LOST);
    }
    qmp_tls_fini(&t);
    return 0;
}
