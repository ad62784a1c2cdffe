import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(7)
torch.set_num_threads(1)

def get_data():
    train = pd.read_csv("input/train.csv")
    test = pd.read_csv("input/test.csv")
    cols = [c for c in train.columns if c not in {"id", "target"}]
    mu, sd = train[cols].mean(), train[cols].std()
    norm = lambda d: torch.tensor(((d[cols] - mu) / sd).to_numpy(), dtype=torch.float32)
    return norm(train), torch.tensor(train["target"].to_numpy()), norm(test), test["id"]

class MLP(torch.nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.a = torch.nn.Linear(n_in, 24)
        self.b = torch.nn.Linear(24, n_out)

    def forward(self, x):
        return self.b(F.relu(self.a(x)))

def train_epoch(model, loader, optimizer):
    model.train()
    total = 0.0
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(xb), yb)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)

@torch.no_grad()
def evaluate(model, x, y):
    model.eval()
    return (model(x).argmax(1) == y).float().mean().item()

def main():
    X, y, T, ids = get_data()
    perm = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
    va, tr = perm[:26], perm[26:]
    loader = DataLoader(TensorDataset(X[tr], y[tr]), batch_size=16, shuffle=True)
    model = MLP(X.shape[1], 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    best, best_state = -1, None
    for epoch in range(20):
        loss = train_epoch(model, loader, optimizer)
        acc = evaluate(model, X[va], y[va])
        if acc > best:
            best, best_state = acc, {k: v.clone() for k, v in model.state_dict().items()}
    print(f"best val acc {best:.3f}")
    model.load_state_dict(best_state)
    with torch.no_grad():
        p = model(T).argmax(1).numpy()
    pd.DataFrame({"id": ids, "target": p}).to_csv("submission.csv", index=False)

if __name__ == "__main__":
    main()
