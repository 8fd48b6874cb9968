// What a classic BPF program answers, and whether the kernel would take it.
using MegaPipe.Kestrel.Internal.Steering;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Tests.Steering;

/// <summary>A packet as a program sees it.</summary>
/// <param name="Hash">Of the device or the sender; 0: there is none.</param>
/// <param name="Cpu">That received it.</param>
/// <param name="NetworkHeader">IPv4 or IPv6, and the ports behind it.</param>
internal sealed record Packet(uint Hash = 0, uint Cpu = 0, byte[]? NetworkHeader = null);

internal static class BpfInterpreter
{
    public static uint Run(ReadOnlySpan<BpfInstruction> program, Packet packet)
    {
        uint a = 0;
        uint x = 0;
        uint[] scratch = new uint[16];
        for (int at = 0; ; at++) // jumps go forward only
        {
            BpfInstruction instruction = program[at];
            uint value = instruction.Value;
            switch (instruction.Code)
            {
                case FlowProgram.LoadWord:
                    a = value == FlowProgram.HashAt ? packet.Hash
                        : value == FlowProgram.CpuAt ? packet.Cpu : Load(packet, value, 4);
                    break;
                case FlowProgram.LoadByte:
                    a = Load(packet, value, 1);
                    break;
                case FlowProgram.LoadImmediate:
                    a = value;
                    break;
                case FlowProgram.LoadScratch:
                    a = scratch[value];
                    break;
                case FlowProgram.Store:
                    scratch[value] = a;
                    break;
                case FlowProgram.CopyToX:
                    x = a;
                    break;
                case FlowProgram.XorX:
                    a ^= x;
                    break;
                case FlowProgram.Multiply:
                    a *= value;
                    break;
                case FlowProgram.Add:
                    a += value;
                    break;
                case FlowProgram.Modulo:
                    a %= value;
                    break;
                case FlowProgram.And:
                    a &= value;
                    break;
                case FlowProgram.ShiftLeft:
                    a <<= (int)value;
                    break;
                case FlowProgram.ShiftRight:
                    a >>= (int)value;
                    break;
                case FlowProgram.ShiftRightX:
                    a >>= (int)x;
                    break;
                case FlowProgram.Jump:
                    at += (int)value;
                    break;
                case FlowProgram.JumpIfEqual:
                    at += a == value ? instruction.IfTrue : instruction.IfFalse;
                    break;
                case FlowProgram.JumpIfGreaterOrEqual:
                    at += a >= value ? instruction.IfTrue : instruction.IfFalse;
                    break;
                case FlowProgram.JumpIfSet:
                    at += (a & value) != 0 ? instruction.IfTrue : instruction.IfFalse;
                    break;
                case FlowProgram.Return:
                    return value;
                case FlowProgram.ReturnA:
                    return a;
                default:
                    throw new NotSupportedException($"Instruction {at}: code 0x{instruction.Code:x}");
            }
        }
    }

    private static uint Load(Packet packet, uint offset, int bytes)
    {
        Assert.True(offset is >= FlowProgram.NetworkHeader and < FlowProgram.Ancillary);
        uint value = 0;
        for (int i = 0; i < bytes; i++)
        {
            value = value << 8 | packet.NetworkHeader![(int)(offset - FlowProgram.NetworkHeader) + i];
        }

        return value;
    }
}
