/* Happy path: three files -> memory -> qmp_tls_creds_new; the key's memory is wiped.
 *
 * What can fail: a file that is not there, not a file, too long, not to be read, or open to
 * others; what is in it is qmp/tls.c's to judge. */
#include "qmp/creds_uv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_MAX = 1024 * 1024, /* a bundle of all public CAs has a fifth of it */
    PATH_SIZE = 512
};

struct file {
    char path[PATH_SIZE];
    char *text; /* owned; NULL: there is none */
    size_t len;
};

static int read_all(int fd, struct file *f, size_t size, struct qf_err *err)
{
    f->text = malloc(size + 1);
    if (!f->text)
        return qf_fail(err, QF_E_NOMEM, "%s: no memory to read it", f->path);
    while (f->len < size) {
        const ssize_t n = read(fd, f->text + f->len, size - f->len);
        if (n > 0)
            f->len += (size_t)n;
        else if (n == 0)
            break;
        else if (errno != EINTR)
            return qf_fail(err, QF_E_USAGE, "%s: %s", f->path, strerror(errno));
    }
    f->text[f->len] = '\0';
    return 0;
}

static int check(const struct stat *st,
                 const struct file *f,
                 bool secret,
                 struct qf_err *err)
{
    if (!S_ISREG(st->st_mode) || st->st_size > FILE_MAX)
        return qf_fail(err, QF_E_USAGE, "%s: not a file with a certificate or a key",
                       f->path);
    /* A group may read: that is how a key is shared among services (Debian's ssl-cert). */
    if (secret && (st->st_mode & (S_IRWXO | S_IWGRP)) != 0)
        return qf_fail(err, QF_E_USAGE,
                       "%s: others can read or change this key (mode %04o); chmod 600",
                       f->path, (unsigned)(st->st_mode & 07777));
    return 0;
}

/* A file that is not there is no error when it may be missing. */
static int load(const char *dir,
                const char *name,
                bool optional,
                bool secret,
                struct file *f,
                struct qf_err *err)
{
    struct stat st;
    if ((size_t)snprintf(f->path, sizeof(f->path), "%s/%s", dir, name) >= sizeof(f->path))
        return qf_fail(err, QF_E_USAGE, "the path of the folder is too long");
    const int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT && optional)
        return 0;
    if (fd < 0)
        return qf_fail(err, QF_E_USAGE, "%s: %s", f->path, strerror(errno));
    int rc = fstat(fd, &st) == 0
                 ? check(&st, f, secret, err)
                 : qf_fail(err, QF_E_USAGE, "%s: %s", f->path, strerror(errno));
    if (rc == 0)
        rc = read_all(fd, f, (size_t)st.st_size, err);
    (void)close(fd);
    return rc;
}

static struct qmp_tls_pem pem(const struct file *f)
{
    return (struct qmp_tls_pem){.name = f->path, .text = f->text, .len = f->len};
}

/* A folder's; what is not there has no text. */
struct folder {
    struct file ca;
    struct file cert;
    struct file key;
};

/* Also after a failure forget() is due. */
static int load_folder(const char *dir,
                       enum qmp_cert_role role,
                       bool optional,
                       struct folder *f,
                       struct qf_err *err)
{
    const bool server = role == QMP_CERT_SERVER;
    int rc = load(dir, "ca-cert.pem", false, false, &f->ca, err);
    if (rc == 0)
        rc = load(dir, server ? "server-cert.pem" : "client-cert.pem", optional, false,
                  &f->cert, err);
    if (rc == 0)
        rc = load(dir, server ? "server-key.pem" : "client-key.pem", optional, true,
                  &f->key, err);
    return rc;
}

static void forget(struct folder *f)
{
    if (f->key.text)
        explicit_bzero(f->key.text, f->key.len);
    free(f->ca.text);
    free(f->cert.text);
    free(f->key.text);
}

int qmp_creds_load(const char *dir, struct qmp_tls_creds **creds, struct qf_err *err)
{
    struct folder f = {.key.text = NULL};
    int rc = 0;
    if (!dir || dir[0] == '\0')
        dir = getenv("QFERRY_TLS_DIR");
    if (dir && dir[0] != '\0')
        rc = load_folder(dir, QMP_CERT_CLIENT, true, &f, err);
    if (rc == 0) {
        const struct qmp_tls_pem ca = pem(&f.ca);
        const struct qmp_tls_pem cert = pem(&f.cert);
        const struct qmp_tls_pem key = pem(&f.key);
        rc = qmp_tls_creds_new(&ca, &cert, &key, creds, err);
    }
    forget(&f);
    return rc;
}

static int check_host(const struct qmp_tls_pem *cert,
                      const char *const *hosts,
                      unsigned n,
                      unsigned *host,
                      struct qf_err *err)
{
    char names[QMP_TLS_NAME] = "";
    for (unsigned i = 0; i < n; i++)
        if (qmp_cert_is_for(cert, hosts[i], names)) {
            *host = i;
            return 0;
        }
    return qf_fail(err, QF_E_USAGE,
                   "%s: the certificate is for %s, not for %s, where the memory goes%s; a "
                   "--destination-address that it is for may be added",
                   cert->name, names, hosts[0],
                   n > 1 ? ", nor for another --destination-address" : "");
}

int qmp_creds_check(const char *dir,
                    enum qmp_cert_role role,
                    const char *const *hosts,
                    unsigned n,
                    unsigned *host,
                    struct qf_err *err)
{
    struct folder f = {.key.text = NULL};
    int rc = load_folder(dir, role, false, &f, err);
    if (rc == 0) {
        const struct qmp_tls_pem ca = pem(&f.ca);
        const struct qmp_tls_pem cert = pem(&f.cert);
        const struct qmp_tls_pem key = pem(&f.key);
        rc = qmp_cert_check(&ca, &cert, &key, role, err);
        if (rc == 0 && role == QMP_CERT_SERVER)
            rc = check_host(&cert, hosts, n, host, err);
    }
    forget(&f);
    return rc;
}
