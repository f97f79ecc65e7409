"""PointNet: learned alignments by batched products, a maximum over points; a graph net."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TNet(nn.Module):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(k, 16, 1), nn.Conv1d(16, 32, 1)
        self.bn1, self.bn2 = nn.BatchNorm1d(16), nn.BatchNorm1d(32)
        self.fc1, self.fc2 = nn.Linear(32, 24), nn.Linear(24, k * k)
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        batchsize = x.size()[0]
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        x = torch.max(x, 2, keepdim=True)[0].view(-1, 32)
        x = self.fc2(F.relu(self.fc1(x)))
        identity = torch.eye(self.k, dtype=x.dtype, device=x.device).flatten().view(1, self.k * self.k)
        return (x + identity.repeat(batchsize, 1)).view(-1, self.k, self.k)


class PointNet(nn.Module):
    """Global features are repeated for each point and joined with its own."""

    def __init__(self, parts: int = 4) -> None:
        super().__init__()
        self.stn, self.fstn = TNet(3), TNet(16)
        self.conv1, self.bn1 = nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16)
        self.conv2, self.bn2 = nn.Conv1d(16, 40, 1), nn.BatchNorm1d(40)
        self.conv3, self.bn3 = nn.Conv1d(56, 24, 1), nn.BatchNorm1d(24)
        self.conv4 = nn.Conv1d(24, parts, 1)

    def forward(self, x: Tensor) -> Tensor:
        n_pts = x.size()[2]
        x = torch.bmm(x.transpose(2, 1), self.stn(x)).transpose(2, 1)
        x = F.relu(self.bn1(self.conv1(x)))
        x = torch.bmm(x.transpose(2, 1), self.fstn(x)).transpose(2, 1)
        pointfeat = x
        x = self.bn2(self.conv2(x))
        x = torch.max(x, 2, keepdim=True)[0].view(-1, 40)
        x = x.view(-1, 40, 1).repeat(1, 1, n_pts)
        x = F.relu(self.bn3(self.conv3(torch.cat([x, pointfeat], 1))))
        x = self.conv4(x).transpose(2, 1).contiguous()
        return F.log_softmax(x, dim=-1)


class GraphNet(nn.Module):
    """Graph convolution with a dense adjacency, graph attention, messages along an edge list."""

    def __init__(self, features: int = 6, hidden: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.gc1 = nn.Parameter(torch.randn(features, hidden) * 0.3)
        self.bias1 = nn.Parameter(torch.zeros(hidden))
        self.w = nn.Linear(hidden, heads * hidden, bias=False)
        self.att_src = nn.Parameter(torch.randn(1, heads, hidden))
        self.att_dst = nn.Parameter(torch.randn(1, heads, hidden))
        self.heads, self.hidden = heads, hidden
        self.message = nn.Linear(2 * heads * hidden, 24)
        self.out = nn.Linear(24, 3)

    def forward(self, x: Tensor, adj: Tensor, edge_index: Tensor) -> Tensor:
        deg = adj.sum(1)
        h = F.relu(torch.mm(adj / deg.unsqueeze(1), torch.mm(x, self.gc1)) + self.bias1)
        wh = self.w(h).view(-1, self.heads, self.hidden)
        e = (wh * self.att_src).sum(-1).unsqueeze(1) + (wh * self.att_dst).sum(-1).unsqueeze(0)
        alpha = F.leaky_relu(e, 0.2).masked_fill((adj == 0).unsqueeze(-1), -1e9).softmax(dim=1)
        h = torch.einsum("ijh,jhf->ihf", alpha, wh).flatten(1)
        src, dst = edge_index[0], edge_index[1]
        m = F.relu(self.message(torch.cat([h[src], h[dst]], dim=-1)))
        agg = torch.zeros(x.size(0), m.size(1), dtype=m.dtype).index_add(0, dst, m)
        return self.out(agg)


def pointnet() -> nn.Module:
    return PointNet()


def graph_net() -> nn.Module:
    return GraphNet()
