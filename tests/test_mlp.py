"""The network over the last few tokens: what it sees, what it does not, and that it learns."""
import math

import numpy as np
import pytest
import torch

from gptcore.batches import Batches
from gptcore.evaluation import cross_entropy, token_nats
from gptcore.mlp import MLPConfig, MLPModel

CONFIG = MLPConfig(vocab_size=7, context=3, n_embd=4, n_hidden=5, block_size=6)


def model(seed=0, **changes):
    torch.manual_seed(seed)
    return MLPModel(MLPConfig(**{**vars(CONFIG), **changes})).double()


def test_each_position_is_the_written_out_formula():
    net, ids = model(), [2, 6, 0, 5, 5]
    scores = net(torch.tensor([ids]))[0]
    rows = [7, 7, *ids]  # the row after the vocabulary stands for what is unknown
    for t in range(len(ids)):
        joined = torch.cat([net.embedding.weight[row] for row in rows[t:t + 3]])
        hidden = torch.tanh(net.hidden.weight @ joined + net.hidden.bias)
        torch.testing.assert_close(scores[t], net.output.weight @ hidden + net.output.bias)


def test_only_the_last_tokens_count():
    net, ids = model(), torch.tensor([[2, 6, 0, 5, 5, 1]])
    before = net(ids)
    for place in range(6):
        changed = ids.clone()
        changed[0, place] = 3
        differs = (net(changed) != before).any(-1)[0].tolist()
        assert differs == [place <= t < place + 3 for t in range(6)]


def test_both_ways_to_the_hidden_layer_give_the_same():
    """Few positions are computed one by one, many through a table; a row by itself is one of the few."""
    net, ids = model(), torch.randint(7, (4, 5), generator=torch.Generator().manual_seed(0))
    assert ids.numel() > CONFIG.vocab_size >= ids[:1].numel()
    scores = torch.cat([net(row[None]) for row in ids])
    torch.testing.assert_close(net(ids), scores)
    gradients = [torch.autograd.grad(each.square().sum(), list(net.parameters()), retain_graph=True)
                 for each in (net(ids), scores)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("token", [-1, 8])
@pytest.mark.parametrize("rows", [1, 4])
def test_a_token_that_there_is_not_is_refused(token, rows):
    ids = torch.zeros(rows, 5, dtype=torch.long)
    ids[0, 0] = token
    with pytest.raises(IndexError):
        model()(ids)


def test_rows_of_a_batch_do_not_mix():
    net, ids = model(), torch.randint(7, (3, 5), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(net(ids), torch.cat([net(row[None]) for row in ids]))


def test_gradients_are_those_of_finite_differences():
    net, ids = model(), torch.tensor([[1, 4, 2, 2]])
    targets, weight = torch.tensor([[4, 2, 2, 0]]), net.embedding.weight
    cross_entropy(net(ids), targets).mean().backward()
    step = 1e-6
    for place in ((4, 1), (7, 0), (3, 2)):  # a token, the unknown, a token that does not occur
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
                losses.append(cross_entropy(net(ids), targets).mean().item())
                weight[place] -= sign * step
        assert weight.grad[place].item() == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=1e-8)


def test_it_learns_what_the_window_shows_and_no_more():
    """The token depends on the one two places before: two tokens of context are enough, one is not."""
    rng = np.random.default_rng(0)
    documents = []
    for _ in range(20):
        ids = [int(token) for token in rng.integers(4, size=2)]
        while len(ids) < 40:
            ids.append((ids[-2] + 1) % 4)
        documents.append(np.array(ids))
    losses = {}
    for context in (1, 2):
        net = model(vocab_size=4, context=context, n_hidden=16, block_size=16).float()
        batches, optimizer = Batches(documents, 16, 8, seed=0), torch.optim.AdamW(net.parameters(), lr=0.03)
        for step in range(150):
            inputs, targets = batches.batch(step)
            optimizer.zero_grad()
            cross_entropy(net(inputs), targets)[:, 1:].mean().backward()
            optimizer.step()
        losses[context] = np.concatenate([nats[1:] for nats in token_nats(net, documents, stride=15)]).mean()
    assert losses[2] < 0.1 and losses[1] > 0.5 * math.log(4)


@pytest.mark.parametrize("field", ["vocab_size", "context", "n_embd", "n_hidden", "block_size"])
def test_absurd_sizes_are_refused(field):
    with pytest.raises(ValueError, match=f"{field}=0"):
        MLPConfig(**{**vars(CONFIG), field: 0})
