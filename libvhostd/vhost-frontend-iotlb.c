/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side's IOMMU: which IO virtual addresses stand for which guest memory, and the
 * messages that tell the back-end. Must not know what lies there. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"

#define TYPE_MISS 1
#define TYPE_UPDATE 2
#define TYPE_INVALIDATE 3
#define ACCESS_BOTH 3u

G_STATIC_ASSERT (sizeof (VhostFrontendIotlbMessage) == 32);

/* The answer is a number of its own (I2). */
static gboolean
send_iotlb (VhostFrontend *self, const VhostFrontendIotlbMessage *message, GError **error)
{
  VhostMessage *answer;

  if (!vhost_frontend_get (self, VHOST_WIRE_IOTLB_MSG, message, sizeof *message, &answer, error))
    return FALSE;
  if (answer->header.size != sizeof answer->payload.u64)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "the answer to IOTLB_MSG has %u bytes; it must have %zu", answer->header.size,
                   sizeof answer->payload.u64);
      return FALSE;
    }
  if (answer->payload.u64 == 0)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
               "the back-end refused IOTLB_MSG (%s of %" G_GUINT64_FORMAT
               " bytes at 0x%" G_GINT64_MODIFIER "x): it answered %" G_GUINT64_FORMAT,
               message->type == TYPE_UPDATE ? "update" : "invalidation", message->size,
               message->iova, answer->payload.u64);
  return FALSE;
}

static gboolean
send_update (VhostFrontend *self, const VhostFrontendMapping *mapping, GError **error)
{
  VhostFrontendIotlbMessage message = {
    .iova = mapping->iova, .size = mapping->size, .perm = mapping->access, .type = TYPE_UPDATE
  };

  /* Memory that was removed is told all the same: the back-end has to find out. */
  vhost_frontend_memory_to_user (self, mapping->guest_addr, mapping->size, &message.user_addr);
  return send_iotlb (self, &message, error);
}

gboolean
vhost_frontend_iotlb_miss (VhostFrontend *self, const VhostFrontendIotlbMessage *miss)
{
  if (miss->type != TYPE_MISS)
    return FALSE;
  for (guint i = 0; i < self->mappings->len; i++)
    {
      const VhostFrontendMapping mapping = g_array_index (self->mappings, VhostFrontendMapping, i);

      if (miss->iova >= mapping.iova && miss->iova - mapping.iova < mapping.size
          && (miss->perm & ~mapping.access) == 0)
        return send_update (self, &mapping, NULL);
    }
  return FALSE;
}

gboolean
vhost_frontend_iotlb_replay (VhostFrontend *self, GError **error)
{
  if (self->iotlb_lazy || !vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_ACCESS_PLATFORM))
    return TRUE;
  for (guint i = 0; i < self->mappings->len; i++)
    {
      if (!send_update (self, &g_array_index (self->mappings, VhostFrontendMapping, i), error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
check_platform (VhostFrontend *self, GError **error)
{
  if (vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_ACCESS_PLATFORM))
    return TRUE;
  g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED,
                       "IOTLB_MSG needs ACCESS_PLATFORM (bit 33), which was not negotiated");
  return FALSE;
}

static gboolean
check_range (guint64 iova, guint64 size, GError **error)
{
  if (size > 0 && size - 1 <= G_MAXUINT64 - iova)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
               "%" G_GUINT64_FORMAT " bytes at IO virtual address 0x%" G_GINT64_MODIFIER
               "x are empty or leave the address space",
               size, iova);
  return FALSE;
}

/**
 * vhost_frontend_iotlb_map:
 * @self: a front-end that negotiated ACCESS_PLATFORM
 * @iova: first IO virtual address
 * @size: bytes
 * @guest_address: the guest physical address that it stands for, in one memory region
 * @access: 1 read, 2 write, 3 both
 * @error: return location for an error
 *
 * Makes an entry in the IOMMU. The back-end is told at once (UPDATE), or, with
 * #VhostFrontend:iotlb-lazy, when it misses it: vhost_frontend_process_backend_messages () answers.
 *
 * Rings lie at #VhostFrontend:iova-offset from their guest addresses, so the memory that they and
 * indirect tables are in has to be mapped so; the addresses of buffers go out as they are.
 *
 * Thread: control. Specification: "IOMMU support", IOTLB_MSG.
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_INVALID (overlap, no such memory),
 * #VHOST_ERROR_NOT_NEGOTIATED, #VHOST_ERROR_REFUSED ...; there is no entry then
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_iotlb_map (VhostFrontend *self, guint64 iova, guint64 size, guint64 guest_address,
                          guint access, GError **error)
{
  const VhostFrontendMapping mapping = { iova, size, guest_address, (guint8) access };
  guint64 user_address;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!check_platform (self, error) || !check_range (iova, size, error))
    return FALSE;
  if (access == 0 || access > ACCESS_BOTH
      || !vhost_frontend_memory_to_user (self, guest_address, size, &user_address))
    {
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_INVALID,
          "%" G_GUINT64_FORMAT " bytes at guest address 0x%" G_GINT64_MODIFIER
          "x cannot be mapped with access %u: they must lie in one region, access is 1 to 3",
          size, guest_address, access);
      return FALSE;
    }
  for (guint i = 0; i < self->mappings->len; i++)
    {
      const VhostFrontendMapping *other = &g_array_index (self->mappings, VhostFrontendMapping, i);

      if (iova <= other->iova + (other->size - 1) && other->iova <= iova + (size - 1))
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                       "IO virtual address 0x%" G_GINT64_MODIFIER
                       "x overlaps the entry at 0x%" G_GINT64_MODIFIER "x: unmap that first",
                       iova, other->iova);
          return FALSE;
        }
    }

  if (!self->iotlb_lazy && !send_update (self, &mapping, error))
    return FALSE;
  g_array_append_val (self->mappings, mapping);
  return TRUE;
}

/**
 * vhost_frontend_iotlb_unmap:
 * @self: a front-end that negotiated ACCESS_PLATFORM
 * @iova: first IO virtual address
 * @size: bytes
 * @error: return location for an error
 *
 * Removes the entries that lie wholly in a range, and invalidates the range.
 *
 * Thread: control. Specification: IOTLB_MSG.
 *
 * Returns: %TRUE when the back-end has let go of the range, or failure with a %VHOST_ERROR: of the
 * connection, or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_iotlb_unmap (VhostFrontend *self, guint64 iova, guint64 size, GError **error)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!check_platform (self, error) || !check_range (iova, size, error))
    return FALSE;
  for (guint i = self->mappings->len; i > 0; i--)
    {
      const VhostFrontendMapping *mapping
          = &g_array_index (self->mappings, VhostFrontendMapping, i - 1);

      if (mapping->iova >= iova && mapping->iova + (mapping->size - 1) <= iova + (size - 1))
        g_array_remove_index (self->mappings, i - 1);
    }
  return vhost_frontend_iotlb_invalidate (self, iova, size, error);
}

/**
 * vhost_frontend_iotlb_invalidate:
 * @self: a front-end that negotiated ACCESS_PLATFORM
 * @iova: first IO virtual address
 * @size: bytes
 * @error: return location for an error
 *
 * Makes the back-end forget a range (INVALIDATE); the entries stay, so it may miss them again.
 *
 * Thread: control. Specification: IOTLB_MSG.
 *
 * Returns: %TRUE when the back-end has let go of the range, or failure with a %VHOST_ERROR: of the
 * connection, or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_iotlb_invalidate (VhostFrontend *self, guint64 iova, guint64 size, GError **error)
{
  const VhostFrontendIotlbMessage message = { .iova = iova, .size = size, .type = TYPE_INVALIDATE };

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  return check_platform (self, error) && check_range (iova, size, error)
         && send_iotlb (self, &message, error);
}
