"""Rows that come and go: the keys and values of texts that are written side by side, in one block of memory."""

import torch
from torch import Tensor

from llmkit.parts import KVCache, TransformerConfig
from llmkit.parts.cache import SPARE

FEWEST_ROWS = 4


class RowsCache(KVCache):
    """Keys and values of several texts. Each text's last token stands in the same column, so one write serves all.

    A text joins beside the others and leaves when it has ended; neither moves what others have. ``extend`` takes one
    further token of every row.

    Args:
        config: of the model. dtype, device: of its weights.
    """

    def __init__(self, config: TransformerConfig, *, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.n_layers = config.n_layers
        self.block = torch.empty(  # [n_layers, keys and values, rows, n_kv_heads, columns, head_dim]
            config.n_layers, 2, 0, config.n_kv_heads, 0, config.head_dim, dtype=dtype, device=device
        )
        self.lengths: list[int] = []
        self.end = 0
        """The column of the next token."""

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.lengths)

    @property
    def seq_len(self) -> int:
        """Length of the longest text."""
        return max(self.lengths, default=0)

    @property
    def size_bytes(self) -> int:
        """Memory of the block."""
        return self.block.nbytes

    @property
    def padding(self) -> Tensor:
        """How many columns before each text are not its own, [B]."""
        longest = self.seq_len
        return torch.tensor([longest - length for length in self.lengths], device=self.block.device)

    def join(self, read: KVCache, first: int, last: int) -> None:
        """Add a row: tokens ``first`` to ``last`` (not included) of what ``read`` holds, which has one row."""
        T, row = last - first, len(self)
        self.make_room(T)
        self.block[:, :, row].zero_()  # 0 times what an ended text has left must be 0
        for layer in range(self.n_layers):
            self.block[layer, 0, row, :, self.end - T : self.end] = read.keys[layer][0, :, first:last]
            self.block[layer, 1, row, :, self.end - T : self.end] = read.values[layer][0, :, first:last]
        self.lengths.append(T)

    def leave(self, row: int) -> None:
        """Take a row out; the last one takes its place."""
        last = len(self) - 1
        if row != last:
            first = self.end - self.lengths[last]
            self.block[:, :, row].zero_()
            self.block[:, :, row, :, first : self.end] = self.block[:, :, last, :, first : self.end]
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()

    def beginning(self, row: int, tokens: int) -> KVCache:
        """The first tokens of a row as a cache of one row, to go on from; this one stays as it is."""
        first, kept = self.end - self.lengths[row], KVCache()
        for layer in range(self.n_layers):
            kept.keys[layer] = self.block[layer, 0, row : row + 1, :, first : first + tokens]
            kept.values[layer] = self.block[layer, 1, row : row + 1, :, first : first + tokens]
        return kept

    def make_room(self, joining: int = 0) -> None:
        """Be able to take one further token of every row, and a new row of so many tokens.

        Raises:
            torch.OutOfMemoryError: (or RuntimeError) when there is no more memory; nothing has changed then.
        """
        rows, columns = self.block.shape[2], self.block.shape[4]
        longest = max(self.seq_len, joining)
        need = len(self) + bool(joining)
        if not self.lengths:
            self.end = longest
        if need > rows or longest + 1 > columns:
            self._rebuild(max(need, 2 * rows, FEWEST_ROWS) if need > rows else rows, longest)
        elif joining > self.end:
            self._shift(max(joining, min(self.end + SPARE // 2, columns - 1)))
        elif self.end == columns:
            if columns - longest < SPARE // 2:
                self._rebuild(rows, longest)
            else:
                self._shift(longest)

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append one token of every row, [B, n_kv_heads, 1, head_dim]; give back all columns of the longest text.

        Call ``make_room`` before layer 0; the last layer ends the step.
        """
        B, first, end = len(k), self.end - self.seq_len, self.end
        keys, values = self.block[layer, 0, :B], self.block[layer, 1, :B]
        keys[:, :, end], values[:, :, end] = k[:, :, 0], v[:, :, 0]
        if layer == self.n_layers - 1:
            self.end += 1
            self.lengths = [length + 1 for length in self.lengths]
        return keys[:, :, first : end + 1], values[:, :, first : end + 1]

    def take_back(self) -> None:
        """Forget the last token of every row: it will be read again."""
        self.end -= 1
        self.lengths = [length - 1 for length in self.lengths]

    def _rebuild(self, rows: int, longest: int) -> None:
        """Move to a larger block, with room for ``SPARE`` columns more than the longest text."""
        L, _, _, K, _, Dh = self.block.shape
        block = self.block.new_zeros(L, 2, rows, K, longest + SPARE, Dh)
        window, B = self.seq_len, len(self)
        if B:
            block[:, :, :B, :, longest - window : longest] = self.block[:, :, :B, :, self.end - window : self.end]
        self.block, self.end = block, longest

    def _shift(self, end: int) -> None:
        """Move all rows so that their last tokens stand before another column; piece by piece, none over itself."""
        window, by, B = self.seq_len, end - self.end, len(self)
        first, size = self.end - window, abs(by)
        pieces = [(at, min(at + size, self.end)) for at in range(first, self.end, size)] if by else []
        if by > 0:  # the piece at the end has to be a whole one
            pieces = [(max(first, at - size), at) for at in range(self.end, first, -size)]
        for start, stop in pieces:
            self.block[:, :, :B, :, start + by : stop + by] = self.block[:, :, :B, :, start:stop]
        self.end = end
