"""Recurrent networks: LSTM, GRU with attention, projections, unrolled cells, CRNN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LSTMClassifier(nn.Module):
    """Two layers, both directions; the last hidden states of both are classified."""

    def __init__(self, vocabulary: int = 100, embed: int = 24, hidden: int = 20) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embed, padding_idx=0)
        self.lstm = nn.LSTM(embed, hidden, num_layers=2, bidirectional=True, batch_first=True, dropout=0.2)
        self.fc = nn.Linear(hidden * 2, 4)

    def forward(self, text: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(self.embedding(text))
        return self.fc(torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1))


class GRUSeq2Seq(nn.Module):
    """Encoder, decoder that starts from its state, additive attention over the encoder's outputs."""

    def __init__(self, vocabulary: int = 60, embed: int = 16, hidden: int = 24) -> None:
        super().__init__()
        self.encoder_embedding = nn.Embedding(vocabulary, embed)
        self.encoder = nn.GRU(embed, hidden, batch_first=True)
        self.decoder_embedding = nn.Embedding(vocabulary, embed)
        self.decoder = nn.GRU(embed, hidden, batch_first=True)
        self.wa, self.ua = nn.Linear(hidden, 16), nn.Linear(hidden, 16)
        self.va = nn.Linear(16, 1)
        self.out = nn.Linear(hidden * 2, vocabulary)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encoder(self.encoder_embedding(source))
        hidden, _ = self.decoder(self.decoder_embedding(target), state)
        scores = self.va(torch.tanh(self.wa(hidden).unsqueeze(2) + self.ua(memory).unsqueeze(1))).squeeze(-1)
        context = torch.bmm(F.softmax(scores, dim=-1), memory)
        return self.out(torch.cat((hidden, context), dim=-1))


class ProjectedLSTM(nn.Module):
    """proj_size: the recurrent state is narrower than the cell; initial states are parameters."""

    def __init__(self, inputs: int = 8, hidden: int = 32, proj: int = 12) -> None:
        super().__init__()
        self.h0 = nn.Parameter(torch.randn(2, 1, proj) * 0.1)
        self.c0 = nn.Parameter(torch.randn(2, 1, hidden) * 0.1)
        self.lstm = nn.LSTM(inputs, hidden, num_layers=2, proj_size=proj)
        self.norm = nn.LayerNorm(proj)
        self.fc = nn.Linear(proj, 3)

    def forward(self, x: Tensor) -> Tensor:
        n = x.size(1)
        out, _ = self.lstm(
            x, (self.h0.expand(-1, n, -1).contiguous(), self.c0.expand(-1, n, -1).contiguous())
        )
        return self.fc(self.norm(out[-1]))


class CellUnrolled(nn.Module):
    """An LSTM cell and a GRU cell stepped in a Python loop, and a vanilla RNN over what they said."""

    def __init__(self, inputs: int = 6, hidden: int = 16) -> None:
        super().__init__()
        self.hidden_size = hidden
        self.cell = nn.LSTMCell(inputs, hidden)
        self.gru = nn.GRUCell(hidden, hidden)
        self.rnn = nn.RNN(hidden, 12, nonlinearity="relu", batch_first=True)
        self.fc = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), self.hidden_size)
        c = torch.zeros_like(h)
        g = torch.zeros_like(h)
        outputs = []
        for t in range(x.size(1)):
            h, c = self.cell(x[:, t], (h, c))
            g = self.gru(h, g)
            outputs.append(g)
        out, _ = self.rnn(torch.stack(outputs, dim=1))
        return self.fc(out[:, -1])


class CRNN(nn.Module):
    """Convolutions over a text line; columns become time steps of a bidirectional LSTM."""

    def __init__(self, hidden: int = 16, classes: int = 12) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d((2, 1), (2, 1)),
        )
        self.map = nn.Linear(16 * 4, 20)
        self.rnn1 = nn.LSTM(20, hidden, bidirectional=True)
        self.rnn2 = nn.LSTM(2 * hidden, hidden, bidirectional=True)
        self.dense = nn.Linear(2 * hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        conv = self.cnn(images)
        batch, channel, height, width = conv.size()
        conv = conv.view(batch, channel * height, width).permute(2, 0, 1)
        seq = self.map(conv)
        seq, _ = self.rnn1(seq)
        seq, _ = self.rnn2(seq)
        return self.dense(seq)


def lstm_classifier() -> nn.Module:
    return LSTMClassifier()


def gru_seq2seq() -> nn.Module:
    return GRUSeq2Seq()


def lstm_projected() -> nn.Module:
    return ProjectedLSTM()


def recurrent_cells() -> nn.Module:
    return CellUnrolled()


def crnn() -> nn.Module:
    return CRNN()
