/* The rows of CONFIGURE's table (phase_configure.c) that are about capabilities and parameters; what
 * a row's functions are to do is in recipe.h. Nobody else includes it. */
#ifndef QF_ENGINE_CONFIGURE_PRIV_H
#define QF_ENGINE_CONFIGURE_PRIV_H

#include "engine/mig_priv.h"

/* ---- configure_caps.c ---- */

bool configure_ask_caps(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);
int configure_hear_dst_caps(struct mig *m,
                            enum mig_side_id side,
                            const struct qapi_reply *r,
                            struct mig_todo *todo);
int configure_hear_src_caps(struct mig *m,
                            enum mig_side_id side,
                            const struct qapi_reply *r,
                            struct mig_todo *todo);
bool configure_ask_dst_caps_again(struct mig *m,
                                  enum mig_side_id side,
                                  struct qapi_cmd *cmd);
bool configure_ask_caps_once_more(struct mig *m,
                                  enum mig_side_id side,
                                  struct qapi_cmd *cmd);
bool configure_ask_dst_caps_less(struct mig *m,
                                 enum mig_side_id side,
                                 struct qapi_cmd *cmd);
bool configure_undo_caps(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);
bool configure_ask_read_caps(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);
bool configure_ask_read_caps_again(struct mig *m,
                                   enum mig_side_id side,
                                   struct qapi_cmd *cmd);
int configure_hear_read_caps(struct mig *m,
                             enum mig_side_id side,
                             const struct qapi_reply *r,
                             struct mig_todo *todo);

/* ---- configure_params.c ---- */

bool configure_ask_dst_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);
int configure_hear_params(struct mig *m,
                          enum mig_side_id side,
                          const struct qapi_reply *r,
                          struct mig_todo *todo);
bool configure_ask_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);
bool configure_undo_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);
bool configure_ask_read_params(struct mig *m, enum mig_side_id side, struct qapi_cmd *cmd);
int configure_hear_read_params(struct mig *m,
                               enum mig_side_id side,
                               const struct qapi_reply *r,
                               struct mig_todo *todo);
bool configure_ask_read_dst_params(struct mig *m,
                                   enum mig_side_id side,
                                   struct qapi_cmd *cmd);

#endif
