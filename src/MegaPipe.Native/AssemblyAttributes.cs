// Every signature in this assembly is blittable; the runtime need not look for anything to marshal.
[assembly: System.Runtime.CompilerServices.DisableRuntimeMarshalling]
