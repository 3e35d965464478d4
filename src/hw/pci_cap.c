// SPDX-License-Identifier: MIT
// The walk of the PCI capability list.

#include <errno.h>
#include <linux/pci_regs.h>

#include "hw/pci.h"

void pci_cap_begin(struct pci_cap_iter *it, const uint8_t *config, size_t size)
{
	*it = (struct pci_cap_iter){ .config = config, .size = size };
}

int pci_cap_next(struct pci_cap_iter *it, uint8_t *ret_pos, uint8_t *ret_id)
{
	uint8_t pos;
	uint64_t bit;

	if (!it->started) {
		if (it->size < PCI_STD_HEADER_SIZEOF)
			return -ENODATA;
		it->started = true;
		if (!(it->config[PCI_STATUS] & PCI_STATUS_CAP_LIST))
			return 0;
		it->next = it->config[PCI_CAPABILITY_LIST];
	}
	/* PCI 3.0, 6.7: "the bottom two bits are reserved and must be set to 00b" and masked */
	pos = it->next & 0xfc;
	if (!pos)
		return 0;
	if (pos < PCI_STD_HEADER_SIZEOF)
		return -EPROTO;
	bit = UINT64_C(1) << (pos / 4);
	if (it->seen & bit)
		return -ELOOP;
	it->seen |= bit;
	if (it->size < 2 || pos > it->size - 2)
		return -ENODATA;
	it->next = it->config[pos + PCI_CAP_LIST_NEXT];
	*ret_pos = pos;
	*ret_id = it->config[pos + PCI_CAP_LIST_ID];
	return 1;
}
