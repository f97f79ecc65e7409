"""What can say what a network costs: it measures, or it estimates and says so."""

from penjing.devices.cache import Cache, cache_directory
from penjing.devices.carried import Carried
from penjing.devices.costs import CostError, CostModel, OperatorCost
from penjing.devices.cpu import Cpu
from penjing.devices.cuda import Cuda
from penjing.devices.device import Device
from penjing.devices.eager import Eager
from penjing.devices.estimating import Estimating, Prices
from penjing.devices.ethos import EthosU
from penjing.devices.executorch import ExecuTorch
from penjing.devices.export import Artifact, to_onnx
from penjing.devices.hls import Hls4ml
from penjing.devices.ideal import Macs, Params
from penjing.devices.inductor import Inductor
from penjing.devices.litert import LiteRt
from penjing.devices.measurement import Figure, Measurement
from penjing.devices.measuring import Measuring
from penjing.devices.memory import MemoryModel, measure_memory
from penjing.devices.micro import Micro
from penjing.devices.nodes import NodeTime
from penjing.devices.openvino import OpenVino
from penjing.devices.program import to_program
from penjing.devices.remote import Ssh
from penjing.devices.roofline import Estimate, Roofline
from penjing.devices.sheet import Sheet, read_sheet
from penjing.devices.size import artifact_size
from penjing.devices.stairs import Stairs
from penjing.devices.table import DEVICES, REMOTE, describe, get
from penjing.devices.timed import Timed
from penjing.devices.torch_cuda import TorchCuda

__all__ = [
    "DEVICES",
    "REMOTE",
    "Artifact",
    "Cache",
    "Carried",
    "CostError",
    "CostModel",
    "Cpu",
    "Cuda",
    "Device",
    "Eager",
    "Estimate",
    "Estimating",
    "EthosU",
    "ExecuTorch",
    "Figure",
    "Hls4ml",
    "Inductor",
    "LiteRt",
    "Macs",
    "Measurement",
    "Measuring",
    "MemoryModel",
    "Micro",
    "NodeTime",
    "OpenVino",
    "OperatorCost",
    "Params",
    "Prices",
    "Roofline",
    "Sheet",
    "Ssh",
    "Stairs",
    "Timed",
    "TorchCuda",
    "artifact_size",
    "cache_directory",
    "describe",
    "get",
    "measure_memory",
    "read_sheet",
    "to_onnx",
    "to_program",
]
