#include "tests/real/pki.h"

#include <stdio.h>

void pki_ca(struct cert *ca, const char *dir)
{
    cert_free(ca);
    cert_make(ca, NULL, &(struct cert_opts){.cn = "lab", .ca = true});
    cert_write(dir, "ca-cert.pem", cert_pem(ca), 0644);
}

void pki_add(const char *dir,
             const struct cert *ca,
             const char *who,
             const char *san,
             long from_s,
             long to_s)
{
    char name[64];
    struct cert c;

    cert_make(&c, ca,
              &(struct cert_opts){.cn = who, .san = san, .from_s = from_s, .to_s = to_s});
    snprintf(name, sizeof(name), "%s-cert.pem", who);
    cert_write(dir, name, cert_pem(&c), 0644);
    snprintf(name, sizeof(name), "%s-key.pem", who);
    cert_write(dir, name, cert_key_pem(&c), 0600);
    cert_free(&c);
}
